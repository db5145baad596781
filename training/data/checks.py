"""What is wrong with the artifacts of a run: missing, stale or mixed.

Everything here reads manifests only; it runs before a table is loaded or a model is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from artifacts.artifact import Artifact
from artifacts.provenance import InputRef
from knowledge.clip.identity import short_clip
from training.config.run import RunConfig
from training.data.inputs import (
    TrainInputs,
    clip_identity,
    frozen_source,
    needs_clip,
    run_clip,
)
from training.data.roles import ROLES, Role, roles_read


@dataclass(frozen=True)
class Problem:
    """One thing that keeps a run from being made."""

    ref: str
    """The artifact it is about."""
    what: str
    """What is wrong, as a sentence that names it."""
    command: str | None
    """Of `actionlore`, mends it; None: no command does."""
    otherwise: str = ""
    """What to do instead."""
    again: bool = False
    """Whether the command has been run before."""

    def __str__(self) -> str:
        again = " again" if self.again else ""
        run = f"run `actionlore {self.command}`{again}" if self.command else ""
        return f"{self.what}; {', or '.join(each for each in (run, self.otherwise) if each)}"


def problems(inputs: TrainInputs, config: RunConfig, training: bool = True) -> Iterator[Problem]:
    """Everything that is wrong, in the order in which it has to be mended.

    Args:
        inputs: the artifacts.
        config: of the run.
        training: False for evaluation, which reads no negatives.
    """
    if wrong := list(_of_wrong_kind(inputs)):
        yield from wrong
        return  # nothing else can be asked of an artifact of another kind
    yield from _missing(inputs, config, training)
    read = roles_read(config, training)
    for role in read:
        for artifact in inputs.of(role):
            if role.made_from is not None:
                yield from _other_source(inputs, artifact, role, read)
            if role.name in _MORE:
                yield from _MORE[role.name](inputs, artifact, config)
    yield from _other_clip(inputs, config)
    if training and inputs.start is not None:
        yield from _other_start(inputs.start, inputs, config)


def check_inputs(inputs: TrainInputs, config: RunConfig, training: bool = True) -> None:
    """Refuse inputs that are missing, stale or mixed.

    Raises:
        ValueError: the first of `problems`: the artifact, what differs and the remedy.
    """
    for problem in problems(inputs, config, training):
        raise ValueError(str(problem))


def _of_wrong_kind(inputs: TrainInputs) -> Iterator[Problem]:
    for role in ROLES.values():
        for artifact in inputs.of(role):
            if artifact.manifest.kind != role.kind:
                what = f"{artifact.ref} was given as {role.name}, which must be {role.kind}"
                yield Problem(str(artifact.ref), what, None, f"give an artifact of {role.kind}")


def _missing(inputs: TrainInputs, config: RunConfig, training: bool) -> Iterator[Problem]:
    videos, model = str(inputs.videos.ref), config.model
    if config.data.features == "videos" and (inputs.clip is None or inputs.root is None):
        lacking = "a CLIP model" if inputs.clip is None else "the directory of the videos"
        what = f"data.features=videos needs {lacking}"
        yield Problem(videos, what, None, "give it, or set data.features=cached")
    elif needs_clip(config) and inputs.clip is None:
        otherwise = _either("give --clip and --clip-weights", model.without("clip"))
        yield Problem(videos, model.needs("clip", "a CLIP model"), None, otherwise)
    read = roles_read(config, training)
    for role in read:
        if role.many or inputs.of(role):
            continue
        origin = ROLES[role.made_from or "videos"]
        made_from = next(iter(inputs.of(origin)), None)
        if made_from is None and origin in read:
            continue  # what is missing is its source, which is a problem of its own
        source = str(inputs.videos.ref if made_from is None else made_from.ref)
        what = f"{role.kind} of {source if made_from else f'{origin.name}, which are not given'}"
        what = f"{role.setting} needs {what}" if role.setting else model.needs(role.name, what)
        command = None if role.missing else role.command
        command = origin.command if made_from is None else command
        yield Problem(source, what, command, _either(role.missing, model.without(role.name)))


def _either(*remedies: str | None) -> str:
    return ", or ".join(filter(None, remedies))


def _other_templates(
    inputs: TrainInputs, templates: Artifact, config: RunConfig
) -> Iterator[Problem]:
    made = templates.manifest.config.get("templates") or []
    if lacking := [each for each in config.model.templates() if each not in made]:
        what = f"{templates.ref} lacks the template {lacking[0]!r}"
        remedy = _either(ROLES["templates"].missing, config.model.without("templates"))
        yield Problem(str(templates.ref), what, None, remedy)


def _other_sampling(inputs: TrainInputs, frames: Artifact, config: RunConfig) -> Iterator[Problem]:
    data, made = config.data, frames.manifest.config
    if made.get("num_frames") != data.num_frames:
        yield _again(
            frames,
            f"holds {made.get('num_frames')} frames per video, "
            f"but data.num_frames={data.num_frames}",
            f"mine --frames {data.num_frames}",
            f"set data.num_frames={made.get('num_frames')}",
        )
    if made.get("offset", data.test_offset) != data.test_offset:
        yield _again(
            frames,
            f"was sampled at the segments' {made['offset']}, "
            f"but data.test_offset={data.test_offset}",
            f"mine --offset {data.test_offset}",
            f"set data.test_offset={made['offset']}",
        )


def _other_negatives(
    inputs: TrainInputs, negatives: Artifact, config: RunConfig
) -> Iterator[Problem]:
    wanted = config.model.mined
    if inputs.frames is not None:
        yield from _not_made_from(negatives, "frames", [inputs.frames], "mine", "frames")
    roles = [role for role in negatives.manifest.inputs if role.startswith("texts")]
    mined = {_made_from(negatives, role, "texts").content_hash for role in roles}
    if inputs.texts.manifest.content_hash not in mined:
        refs = ", ".join(negatives.manifest.inputs[role].ref for role in roles)
        yield _again(negatives, f"was mined among {refs}, not among {inputs.texts.ref}", "mine")
    if wanted.corpus == "union":
        texts = [inputs.texts, *inputs.corpora]
        for role in roles:
            yield from _not_made_from(negatives, role, texts, "mine", "texts")
    top_k = negatives.manifest.config.get("top_k")
    if top_k is not None and top_k < wanted.ranks[1]:
        yield _again(
            negatives,
            f"holds the {top_k} hardest texts per video, but ranks "
            f"{list(wanted.ranks)} (from 0) of {config.model.setting(wanted)} are wanted",
            f"mine --top-k {wanted.ranks[1]}",
        )


_MORE: dict[str, Callable[[TrainInputs, Artifact, RunConfig], Iterator[Problem]]] = {
    "frames": _other_sampling,
    "templates": _other_templates,
    "negatives": _other_negatives,
}
"""What is asked of a role beyond its kind and what it was made from."""


def _other_clip(inputs: TrainInputs, config: RunConfig) -> Iterator[Problem]:
    """All embeddings come from one CLIP, the texts' one."""
    embedded = [each for role in ROLES.values() if role.is_embedded for each in inputs.of(role)]
    silent = [each for each in embedded if each.manifest.config.get("clip") is None]
    if silent:
        yield from (_again(each, "does not say which CLIP made it", "mine") for each in silent)
        return
    expected = clip_identity(inputs.texts)
    for artifact in embedded:
        if (found := clip_identity(artifact)) != expected:
            yield _again(
                artifact,
                f"was made with CLIP {short_clip(found)}, "
                f"but {inputs.texts.ref} with {short_clip(expected)}",
                "mine",
            )
    if needs_clip(config) and inputs.clip is not None:
        from knowledge.clip.lazy import LazyClip

        if (found := LazyClip(inputs.clip).identity) != expected:
            yield _again(
                inputs.texts,
                f"was made with CLIP {short_clip(expected)}, but the model given is "
                f"{short_clip(found)}",
                "mine",
            )


def _other_start(start: Artifact, inputs: TrainInputs, config: RunConfig) -> Iterator[Problem]:
    """The weights of a run fit its method and its CLIP only."""
    if config.model.is_fitted:
        what = f"the start {start.ref} has no effect: {config.model.name} is made in one pass"
        yield Problem(str(start.ref), what, None, "leave --start out")
        return
    method = start.manifest.config["model"]["name"]
    if method != config.model.name:
        what = f"{start.ref} is of {method} and cannot be the start of {config.model.name}"
        yield Problem(str(start.ref), what, None, "give a run of the same method, or --start none")
    try:
        found = run_clip(start)
    except ValueError as error:
        yield Problem(str(start.ref), str(error), None, "give another run, or --start none")
        return
    if found != clip_identity(inputs.texts):
        yield _again(
            inputs.texts,
            f"was made with CLIP {short_clip(clip_identity(inputs.texts))}, but {start.ref}, from "
            f"which the run is to start, with {short_clip(found)}",
            "mine",
        )


def _made_from(artifact: Artifact, role: str, reembedded: str) -> InputRef:
    """The input of a role; what it was before where a run re-embedded it."""
    source = artifact.manifest.inputs[role]
    if "run" not in artifact.manifest.inputs:
        return source
    return frozen_source(artifact.store.get(source.ref), reembedded) or source


def _other_source(
    inputs: TrainInputs, artifact: Artifact, role: Role, read: list[Role]
) -> Iterator[Problem]:
    """It was not made from the run's own `made_from`, or there is none to compare with."""
    origin = ROLES[role.made_from or "videos"]
    if sources := inputs.of(origin):
        yield from _not_made_from(artifact, origin.name, sources, role.command)
    elif origin not in read:  # else `_missing` has it
        what = f"{artifact.ref} must be made from the run's {origin.name}, which are not given"
        yield Problem(str(artifact.ref), what, origin.command)


def _not_made_from(
    artifact: Artifact,
    role: str,
    accepted: Iterable[Artifact],
    command: str,
    reembedded: str | None = None,
) -> Iterator[Problem]:
    accepted = list(accepted)
    source = artifact.manifest.inputs.get(role)
    if source is None:
        yield _again(artifact, f"does not say which {role} it was made from", command)
        return
    if reembedded:
        source = _made_from(artifact, role, reembedded)
    if source.content_hash not in {item.manifest.content_hash for item in accepted}:
        yield _again(
            artifact,
            f"was made from {source.ref} ({source.content_hash[:12]}), but the run is given "
            + ", ".join(f"{item.ref} ({item.manifest.content_hash[:12]})" for item in accepted),
            command,
        )


def _again(artifact: Artifact, what: str, command: str, otherwise: str = "") -> Problem:
    """An artifact that has to be made again, or something else be done."""
    return Problem(str(artifact.ref), f"{artifact.ref} {what}", command, otherwise, again=True)
