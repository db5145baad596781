"""WiSE-FT: weights between those of frozen CLIP and those that a run made of them.

Training on one list of classes costs accuracy on others. Halfway between both sets of weights a
model keeps most of what CLIP knew and most of what it learnt. Source: Wortsman et al., "Robust
fine-tuning of zero-shot models", CVPR 2022. Their head is CLIP's own, so alpha = 0 is
zero-shot CLIP. Here everything that is not CLIP's stays as it was trained (a transformer over
frames, the logit scale), so that alpha = 0 is frozen CLIP under a trained head.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch

from artifacts.artifact import Artifact
from training.config.run import RunConfig
from training.data.inputs import TrainInputs
from training.models.method import Method
from training.models.weights import Checkpoint

ZERO_SHOT_ALPHAS = (0.5,)
"""What is scored where nothing else is asked for: the value the paper recommends."""

Alphas = Sequence[float] | None
"""Shares of the trained weights, in [0, 1]; None: those of `ZERO_SHOT_ALPHAS` where a run that has
trained weights of CLIP is scored on classes that are not its own, else none."""


def alphas_of(
    asked: Alphas, run: Artifact, inputs: TrainInputs, config: RunConfig, saved: Checkpoint
) -> tuple[float, ...]:
    """The alphas a run is scored with, each once, rising.

    Raises:
        ValueError: an alpha outside [0, 1], or one that changes nothing.
    """
    trained = trained_towers(config, saved)
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


def trained_towers(config: RunConfig, saved: Checkpoint) -> frozenset[str]:
    """Which of CLIP's towers, `image` and `text`, started from CLIP and have other weights now.

    Args:
        config: of the run.
        saved: its weights.
    """
    towers = config.model.towers(config.data)
    taken_over = any(name.startswith("tower.") for name in saved.facts.get("from_start", ()))
    image = towers.image and (config.vision.trainable != "none" or taken_over)
    found = {"image": image and towers.init != "scratch", "text": towers.text}
    if towers.init != "clip":
        found["text"] = False
    return frozenset(tower for tower, trained in found.items() if trained)


def clip_weights(method: Method, towers: frozenset[str]) -> dict[str, torch.Tensor]:
    """Copies of the method's present weights of these towers, by its own names."""
    state = method.state_dict()
    return {
        name: state[name].clone()
        for name, clip_name in method.clip_names().items()
        if ("image" if clip_name.startswith("visual.") else "text") in towers
    }


def interpolated(method: Method, frozen: Mapping[str, torch.Tensor], alpha: float) -> Method:
    """A copy of the method whose weights of CLIP are (1 - alpha) frozen + alpha trained.

    At 0 and 1 they are those of one side to the bit.

    Args:
        method: as it was trained, in evaluation mode; not changed.
        frozen: CLIP's weights by the method's names; what is not here stays as it was trained.
        alpha: in [0, 1].
    """
    between = copy.deepcopy(method)
    state, trained = between.state_dict(), method.trained_state()
    with torch.no_grad():
        for name, tensor in frozen.items():
            if name in trained and tensor.is_floating_point():
                state[name].copy_(torch.lerp(tensor, state[name], alpha))
    return between


def protocol_at(protocol: str, alpha: float) -> str:
    """Name of a protocol with such weights, e.g. `actionclip@0.5`."""
    return f"{protocol}@{str(float(alpha)).removesuffix('.0')}"
