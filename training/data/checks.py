"""The refusal of artifacts that do not belong together.

Everything here reads manifests only; it runs before a table is loaded or a model is built.
"""

from __future__ import annotations

from collections.abc import Iterable

from artifacts.artifact import Artifact
from artifacts.provenance import InputRef
from training.config.run import RunConfig
from training.data.inputs import (
    TrainInputs,
    clip_identity,
    frozen_source,
    needs_clip,
    refuse,
    wanted_templates,
)


def check_inputs(inputs: TrainInputs, config: RunConfig, training: bool = True) -> None:
    """Refuse inputs that are missing, stale or mixed.

    Args:
        inputs: the artifacts.
        config: of the run.
        training: False for evaluation, which reads no negatives.

    Raises:
        ValueError: names the artifact, what differs and the command that fixes it.
    """
    _check_kinds(inputs)
    _check_presence(inputs, config, training)
    _require_made_from(inputs.videos, "classes", [inputs.classes], "register")
    _require_made_from(inputs.texts, "classes", [inputs.classes], "mine")
    if inputs.frames is not None:
        _require_made_from(inputs.frames, "videos", [inputs.videos], "mine")
    if inputs.templates is not None:
        _require_made_from(inputs.templates, "classes", [inputs.classes], "train")
    if config.data.features == "cached":
        _check_sampling(inputs.frames, config)
    if training and config.negatives.k:
        _check_negatives(inputs, config)
    _check_clip(inputs, config)


def _check_kinds(inputs: TrainInputs) -> None:
    expected: dict[str, tuple[str, list[Artifact | None]]] = {
        "classes": ("classes", [inputs.classes]),
        "videos": ("videos", [inputs.videos]),
        "texts": ("text_embeddings", [inputs.texts]),
        "frames": ("frame_embeddings", [inputs.frames]),
        "negatives": ("negatives", [inputs.negatives]),
        "corpora": ("text_embeddings", [*inputs.corpora]),
        "templates": ("text_embeddings", [inputs.templates]),
    }
    for role, (kind, artifacts) in expected.items():
        for artifact in artifacts:
            if artifact is not None and artifact.manifest.kind != kind:
                raise ValueError(f"{artifact.ref} was given as {role}, which must be {kind}")


def _check_presence(inputs: TrainInputs, config: RunConfig, training: bool) -> None:
    if config.data.features == "cached" and inputs.frames is None:
        raise ValueError(
            f"data.features=cached needs frame_embeddings of {inputs.videos.ref}; "
            "run `actionlore mine`"
        )
    if config.data.features == "videos" and (inputs.clip is None or inputs.root is None):
        lacking = "a CLIP model" if inputs.clip is None else "the directory of the videos"
        raise ValueError(f"data.features=videos needs {lacking}; or set data.features=cached")
    if needs_clip(config) and inputs.clip is None:
        raise ValueError(
            "model.text.trainable=true needs a CLIP model; give --clip and --clip-weights, or set "
            "model.text.trainable=false"
        )
    _check_templates(inputs.templates, wanted_templates(config), inputs)
    if training and config.negatives.k and inputs.negatives is None:
        raise ValueError(
            f"model.negatives.k={config.negatives.k} needs negatives of {inputs.videos.ref}; "
            "run `actionlore mine`, or set model.negatives.k=0"
        )


def _check_templates(
    templates: Artifact | None, wanted: tuple[str, ...], inputs: TrainInputs
) -> None:
    if not wanted:
        return
    remedy = "train with --clip and --clip-weights, which makes it, or set model.text.trainable"
    if templates is None:
        raise ValueError(
            f"model.text.templates needs text_embeddings of {inputs.classes.ref} under "
            f"{len(wanted)} templates; {remedy}"
        )
    made = templates.manifest.config.get("templates") or []
    if lacking := [template for template in wanted if template not in made]:
        raise ValueError(f"{templates.ref} lacks the template {lacking[0]!r}; {remedy}")


def _check_sampling(frames: Artifact | None, config: RunConfig) -> None:
    assert frames is not None
    data, made = config.data, frames.manifest.config
    if made.get("num_frames") != data.num_frames:
        refuse(
            frames,
            f"holds {made.get('num_frames')} frames per video, "
            f"but data.num_frames={data.num_frames}",
            f"mine --frames {data.num_frames}",
            f"set data.num_frames={made.get('num_frames')}",
        )
    if made.get("offset", data.test_offset) != data.test_offset:
        refuse(
            frames,
            f"was sampled at the segments' {made['offset']}, "
            f"but data.test_offset={data.test_offset}",
            f"mine --offset {data.test_offset}",
            f"set data.test_offset={made['offset']}",
        )


def _check_negatives(inputs: TrainInputs, config: RunConfig) -> None:
    negatives, wanted = inputs.negatives, config.negatives
    assert negatives is not None
    _require_made_from(negatives, "videos", [inputs.videos], "mine")
    if inputs.frames is not None:
        _require_made_from(negatives, "frames", [inputs.frames], "mine", "frames")
    roles = [role for role in negatives.manifest.inputs if role.startswith("texts")]
    mined = {_made_from(negatives, role, "texts").content_hash for role in roles}
    if inputs.texts.manifest.content_hash not in mined:
        refs = ", ".join(negatives.manifest.inputs[role].ref for role in roles)
        refuse(negatives, f"was mined among {refs}, not among {inputs.texts.ref}", "mine")
    if wanted.corpus == "union":
        for role in roles:
            _require_made_from(negatives, role, [inputs.texts, *inputs.corpora], "mine", "texts")
    top_k = negatives.manifest.config.get("top_k")
    if top_k is not None and top_k < wanted.ranks[1]:
        refuse(
            negatives,
            f"holds the {top_k} hardest texts per video, but ranks "
            f"{list(wanted.ranks)} (from 0) of model.negatives are wanted",
            f"mine --top-k {wanted.ranks[1]}",
        )


def _check_clip(inputs: TrainInputs, config: RunConfig) -> None:
    """All embeddings come from one CLIP, the texts' one."""
    expected = clip_identity(inputs.texts)
    optional = (inputs.frames, inputs.templates)
    for artifact in [*inputs.corpora, *(each for each in optional if each is not None)]:
        if (found := clip_identity(artifact)) != expected:
            refuse(
                artifact,
                f"was made with CLIP {_short(found)}, "
                f"but {inputs.texts.ref} with {_short(expected)}",
                "mine",
            )
    if needs_clip(config):
        from knowledge.clip.model import LazyClip

        assert inputs.clip is not None
        if (found := LazyClip(inputs.clip).identity) != expected:
            refuse(
                inputs.texts,
                f"was made with CLIP {_short(expected)}, but the model given is {_short(found)}",
                "mine",
            )


def _made_from(artifact: Artifact, role: str, reembedded: str) -> InputRef:
    """The input of a role; what it was before where a run re-embedded it."""
    source = artifact.manifest.inputs[role]
    if "run" not in artifact.manifest.inputs:
        return source
    return frozen_source(artifact.store.get(source.ref), reembedded) or source


def _require_made_from(
    artifact: Artifact,
    role: str,
    accepted: Iterable[Artifact],
    command: str,
    reembedded: str | None = None,
) -> None:
    accepted = list(accepted)
    source = artifact.manifest.inputs.get(role)
    if source is None:
        refuse(artifact, f"does not say which {role} it was made from", command)
    if reembedded:
        source = _made_from(artifact, role, reembedded)
    if source.content_hash not in {item.manifest.content_hash for item in accepted}:
        refuse(
            artifact,
            f"was made from {source.ref} ({source.content_hash[:12]}), but the run is given "
            + ", ".join(f"{item.ref} ({item.manifest.content_hash[:12]})" for item in accepted),
            command,
        )


def _short(identity: dict[str, str]) -> str:
    return f"{identity.get('arch')} ({str(identity.get('weights_sha256'))[:12]})"
