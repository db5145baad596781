"""What a training run reads: found in the store; texts that are not there yet are embedded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from artifacts.artifact import Artifact, Outcome
from artifacts.store import Store
from flows.orchestration.resolve import last_used, newest_of
from knowledge.clip.architecture import MODELS
from knowledge.clip.lazy import LazyClip
from knowledge.clip.weights import BUNDLED, ClipSpec
from knowledge.embedding.class_texts import text_embeddings
from knowledge.embedding.templates import template_embeddings
from training.config.run import RunConfig
from training.data.inputs import TrainInputs, clip_identity, frozen_source
from training.data.roles import ROLES, Role, roles_read

_FOUND_BY_LINEAGE = {"classes", "videos", "texts", "frames", "negatives", "corpora", "templates"}
"""Roles that are looked for here: in the lineage of the negatives, or embedded where lacking."""


def train_inputs(
    store: Store,
    dataset: str,
    config: RunConfig,
    clip: ClipSpec | None,
    videos: Path | None,
    device: str = "cpu",
    training: bool = True,
) -> tuple[TrainInputs, list[Outcome]]:
    """Everything a dataset's negatives were mined from, so that it fits together.

    A run without negatives on videos needs no mining: then the dataset is a registered one. What
    the config reads beyond it is what was made from these artifacts, of several the last used.

    Args:
        store: where to look, and to publish texts.
        dataset: NAME or NAME@KEY of `negatives`, or of `videos` without mining. NAME means what was
            used last: if these are videos, registered since, then the negatives mined from them.
        config: of the run.
        clip: the model; None: the bundled one if it made the dataset's texts.
        videos: directory of the videos.
        device: where texts are embedded.
        training: False for scoring, which reads no negatives.

    Returns:
        The inputs, and what was embedded for them or found by its key.

    Raises:
        ValueError: nothing of that name, or texts to embed and no CLIP to do it.
    """
    if _takes_registered(store, dataset, config, training):
        inputs, made = _registered(store, dataset, clip, videos, device)
    else:
        inputs, made = _mined(store, dataset, clip, videos), []
    if config.model.templates():
        outcome = _templates(store, inputs, config.model.all_templates(), device)
        if isinstance(outcome, Outcome):
            made.append(outcome)
            outcome = outcome.artifact
        inputs = replace(inputs, templates=outcome)
    return _newest(store, inputs, roles_read(config, training)), made


def exact(store: Store, dataset: str, configs: Sequence[RunConfig]) -> str:
    """NAME@KEY of what `train_inputs` takes for a name, so that all steps of a work take the same.

    Other processes may change what the name means meanwhile.

    Args:
        store: where to look.
        dataset: NAME or NAME@KEY.
        configs: of the work's runs.

    Raises:
        ValueError: nothing of that name.
    """
    if "@" in dataset:
        return dataset
    registered = all(_takes_registered(store, dataset, config) for config in configs)
    found = store.get(f"videos/{dataset}") if registered else _negatives(store, dataset)
    return str(found.ref).split("/")[1]


def _takes_registered(store: Store, dataset: str, config: RunConfig, training: bool = True) -> bool:
    """Whether a run takes the registered dataset: it needs no mining, and there is none of it."""
    if (training and config.model.mined.k) or config.data.features != "videos":
        return False
    return not _is_mined(store, dataset) or _unmined_since(store, dataset)


def _newest(store: Store, inputs: TrainInputs, roles: list[Role]) -> TrainInputs:
    """The inputs with those roles filled that nothing here looks for in a way of its own.

    Each with the artifact of its kind, used last, that was made from the run's `made_from`; where a
    role has several, with all of them, by name and age.
    """
    for role in roles:
        if role.name in _FOUND_BY_LINEAGE or inputs.of(role):
            continue
        fitting = [each for each in store.published(role.kind) if _fits(each, role, inputs)]
        found: dict[str, Any] = {role.name: tuple(fitting) if role.many else last_used(fitting)}
        inputs = replace(inputs, **found)
    return inputs


def _fits(artifact: Artifact, role: Role, inputs: TrainInputs) -> bool:
    """Whether an artifact was made from the run's own one and, if embedded, with its CLIP."""
    if role.is_embedded and artifact.manifest.config.get("clip") != clip_identity(inputs.texts):
        return False
    if role.made_from is None:
        return True
    source = artifact.manifest.inputs.get(role.made_from)
    given = inputs.of(ROLES[role.made_from])
    return source is not None and source.content_hash in {
        each.manifest.content_hash for each in given
    }


def _is_mined(store: Store, dataset: str) -> bool:
    name, _, key = dataset.partition("@")
    return any(
        each.manifest.name == name and each.manifest.key.startswith(key)
        for each in store.published("negatives")
    )


def _registered_since(store: Store, dataset: str) -> Artifact | None:
    """Videos of that name, used later than its negatives, which are of others; else None."""
    if "@" in dataset or not _is_mined(store, dataset):
        return None
    if all(each.manifest.name != dataset for each in store.published("videos")):
        return None
    mined, videos = store.get(f"negatives/{dataset}"), store.get(f"videos/{dataset}")
    own = mined.manifest.inputs["videos"].content_hash == videos.manifest.content_hash
    return None if own or store.used_at(mined) > store.used_at(videos) else videos


def _unmined_since(store: Store, dataset: str) -> bool:
    """Whether the name means videos that were registered after the last mining, and not mined."""
    videos = _registered_since(store, dataset)
    return videos is not None and newest_of(store, "negatives", dataset, videos=videos) is None


def _negatives(store: Store, dataset: str) -> Artifact:
    """The negatives that a name means.

    Raises:
        ValueError: there are none, also where the key is that of videos, or the name means videos
            that are not mined.
    """
    if videos := _registered_since(store, dataset):
        if mined := newest_of(store, "negatives", dataset, videos=videos):
            return mined
        last = store.get(f"negatives/{dataset}").ref
        raise ValueError(
            f"{dataset} means {videos.ref} since it was registered again, which is not mined; run "
            f"`actionlore mine --dataset {dataset}`, or give --dataset {last.name}@{last.key} for "
            "what was mined before"
        )
    name, _, key = dataset.partition("@")
    listed = [
        each
        for each in store.published("videos")
        if key and each.manifest.name == name and each.manifest.key.startswith(key)
    ]
    if len(listed) != 1 or _is_mined(store, dataset):
        return store.get(f"negatives/{dataset}")
    [videos] = listed
    mined = newest_of(store, "negatives", name, videos=videos)
    command = f"run `actionlore mine --dataset {dataset}`"
    remedy = f"give --dataset {mined.ref}" if mined else command
    raise ValueError(
        f"{dataset} is the key of {videos.ref}, and what is trained on is its negatives, which "
        f"have a key of their own; {remedy}"
    )


def _mined(store: Store, dataset: str, clip: ClipSpec | None, videos: Path | None) -> TrainInputs:
    negatives = _negatives(store, dataset)
    made_from = {role: item.ref for role, item in negatives.manifest.inputs.items()}
    roles = [role for role in made_from if role.startswith("texts_")]
    refs = [made_from[role] for role in sorted(roles, key=lambda role: int(role[6:]))]
    texts = [found for ref in refs if (found := _of_clip(store, ref, "texts"))]
    listed = store.get(made_from["videos"])
    return TrainInputs(
        classes=store.get(listed.manifest.inputs["classes"].ref),
        videos=listed,
        texts=texts[0],
        frames=_of_clip(store, made_from["frames"], "frames"),
        negatives=negatives,
        corpora=tuple(texts[1:]),
        clip=clip or bundled_clip(texts[0]),
        root=videos,
    )


def _of_clip(store: Store, ref: str, role: str) -> Artifact | None:
    """Embeddings of frozen CLIP, also where a run re-embedded them; None if it read videos."""
    artifact = store.get(ref)
    if "run" not in artifact.manifest.inputs:
        return artifact
    original = frozen_source(artifact, role)
    return store.get(original.ref) if original else None


def _registered(
    store: Store, dataset: str, clip: ClipSpec | None, videos: Path | None, device: str
) -> tuple[TrainInputs, list[Outcome]]:
    listed = store.get(f"videos/{dataset}")
    if clip is None:
        raise ValueError(
            f"{listed.ref} is not mined, so the run has to be told its CLIP model; give --clip and "
            "--clip-weights, or run `actionlore mine`"
        )
    classes = store.get(listed.manifest.inputs["classes"].ref)
    texts = text_embeddings(store, LazyClip(clip, device), classes)
    inputs = TrainInputs(classes, listed, texts.artifact, clip=clip, root=videos)
    return inputs, [texts]


def _templates(
    store: Store, inputs: TrainInputs, templates: tuple[str, ...], device: str
) -> Outcome | Artifact | None:
    """The class names in all templates: made with the run's CLIP, or any the store has of it."""
    if inputs.clip is not None:
        return template_embeddings(store, LazyClip(inputs.clip, device), inputs.classes, templates)
    fitting = [
        each
        for each in store.published("text_embeddings")
        if each.manifest.config.get("templates") == list(templates)
        and each.manifest.inputs["classes"].content_hash == inputs.classes.manifest.content_hash
        and clip_identity(each) == clip_identity(inputs.texts)
    ]
    return last_used(fitting)


def bundled_clip(texts: Artifact) -> ClipSpec | None:
    """The bundled model that made the texts, if it was one."""
    identity = clip_identity(texts)
    if not (MODELS / f"{identity['arch']}.safetensors").is_file():
        return None
    spec = ClipSpec(arch=identity["arch"], weights=BUNDLED)
    return spec if LazyClip(spec).identity == identity else None
