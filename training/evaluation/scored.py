"""What is scored already, found by its keys; no torch is imported.

Which weights are scored (`alphas_of`) is part of the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from artifacts.artifact import Artifact, Outcome
from artifacts.provenance import InputRef, Provenance, inputs_of
from artifacts.store import Store
from training.config.facts import run_facts
from training.config.method_code import CODE, method_code
from training.config.overrides import override, parse
from training.config.run import RunConfig
from training.data.checks import check_inputs
from training.data.inputs import TrainInputs, clip_identity
from training.data.roles import ROLES, roles_read

NUM_TOP = 5
"""Classes stored per prediction of one label."""

ZERO_SHOT_ALPHAS = (0.5,)
"""What is scored where nothing else is asked for: the value the paper recommends."""

Alphas = Sequence[float] | None
"""Shares of the trained weights, in [0, 1]; None: those of `ZERO_SHOT_ALPHAS` where a run that has
trained weights of CLIP is scored on classes that are not its own, else none."""


def alphas_of(
    asked: Alphas, run: Artifact, inputs: TrainInputs, config: RunConfig, facts: Mapping[str, Any]
) -> tuple[float, ...]:
    """The alphas a run is scored with, each once, rising.

    Raises:
        ValueError: an alpha outside [0, 1], or one that changes nothing.
    """
    trained = trained_towers(config, facts)
    if asked is None:
        own = run.manifest.inputs["classes"].content_hash == inputs.classes.manifest.content_hash
        return () if own or not trained else ZERO_SHOT_ALPHAS
    for alpha in asked:
        if not 0 <= alpha <= 1:
            raise ValueError(
                f"--wise-ft {alpha:g} is not in [0, 1]; it is the share of the trained weights: "
                "0 is frozen CLIP, 1 the run"
            )
    if asked and not trained:
        raise ValueError(
            f"--wise-ft {asked[0]:g} has no effect: {run.ref} trained no weights that it took from "
            "CLIP; leave it out"
        )
    return tuple(sorted({float(alpha) for alpha in asked}))


def trained_towers(config: RunConfig, facts: Mapping[str, Any]) -> frozenset[str]:
    """Which of CLIP's towers, `image` and `text`, started from CLIP and have other weights now.

    Args:
        config: of the run.
        facts: of its weights.
    """
    towers = config.model.towers(config.data)
    taken_over = any(name.startswith("tower.") for name in facts.get("from_start", ()))
    image = towers.image and (config.vision.trainable != "none" or taken_over)
    found = {"image": image and towers.init != "scratch", "text": towers.text}
    if towers.init != "clip":
        found["text"] = False
    return frozenset(tower for tower, trained in found.items() if trained)


def find_scored(
    store: Store,
    run: Artifact,
    inputs: TrainInputs,
    split: str,
    name: str | None = None,
    views: str | None = None,
    wise_ft: Alphas = None,
) -> tuple[Outcome, Outcome] | None:
    """The predictions and metrics that `evaluate` would find; None if it had anything to make.

    Raises:
        ValueError: as for `evaluate`.
    """
    key, _ = what_is_scored(run, inputs, split, name, views, wise_ft)
    if (predictions := store.find(key)) is None:
        return None
    metrics = store.find(metrics_key(key.name, split, predictions))
    if metrics is None:
        return None
    return Outcome(predictions, made=False), Outcome(metrics, made=False)


def what_is_scored(
    run: Artifact,
    inputs: TrainInputs,
    split: str,
    name: str | None,
    views: str | None,
    wise_ft: Alphas,
) -> tuple[Provenance, RunConfig]:
    """Key of the predictions, and the config that the run is scored with.

    Raises:
        ValueError: as for `evaluate`.
    """
    facts = run_facts(run)
    config = checked_config(facts, run, inputs)
    if views:
        config = override(config, [f"eval.views={views}"])
    alphas = alphas_of(wise_ft, run, inputs, config, facts)
    key = Provenance(
        kind="predictions",
        name=name or f"{run.manifest.name}-{split}",
        config={"split": split, "num_top": NUM_TOP, "views": config.eval.views}
        | {CODE: method_code(config.model.name)}
        | ({"wise_ft": list(alphas)} if alphas else {}),
        inputs=_used(run, inputs, config),
    )
    return key, config


def metrics_key(name: str, split: str, predictions: Artifact) -> Provenance:
    """Key of the metrics of predictions."""
    return Provenance(
        kind="metrics",
        name=name,
        config={"split": split},
        inputs=dict(inputs_of(predictions=predictions)),
    )


def checked_config(facts: Mapping[str, Any], run: Artifact, inputs: TrainInputs) -> RunConfig:
    """A run's config, after checking that the inputs can be scored with its weights.

    Raises:
        ValueError: inputs that do not belong together or to the run.
    """
    config = parse(facts["config"])
    check_inputs(inputs, config, training=False)
    if facts["clip"] != clip_identity(inputs.texts):
        raise ValueError(
            f"{inputs.texts.ref} was made with another CLIP than {run.ref}; run `actionlore mine` "
            f"with {facts['clip']['arch']} and the weights of the run"
        )
    return config


def _used(run: Artifact, inputs: TrainInputs, config: RunConfig) -> dict[str, InputRef]:
    """What scoring reads: zero-shot reads cached frames also where the model takes videos."""
    roles = dict.fromkeys([*roles_read(config, training=False), ROLES["frames"]])
    return {**inputs_of(run=run), **inputs.filled([*roles])}
