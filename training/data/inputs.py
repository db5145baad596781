"""The artifacts a run is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.artifact import Artifact
from artifacts.provenance import InputRef, Provenance, inputs_of
from artifacts.store import Store
from training.config.facts import run_facts
from training.config.method import MethodConfig
from training.config.method_code import CODE, method_code
from training.config.run import RunConfig
from training.data.roles import ROLES, Role, roles_read

if TYPE_CHECKING:
    from knowledge.clip.weights import ClipSpec


@dataclass(frozen=True)
class TrainInputs:
    """What training and evaluation consume: an artifact, or several, for each of `ROLES`."""

    classes: Artifact
    videos: Artifact
    texts: Artifact
    """`text_embeddings` of the dataset's own classes."""
    frames: Artifact | None = None
    """`frame_embeddings`; for data.features=cached."""
    negatives: Artifact | None = None
    """Mined texts of each training video."""
    corpora: tuple[Artifact, ...] = ()
    """`text_embeddings` of further class lists, where negatives may come from them."""
    templates: Artifact | None = None
    """`text_embeddings` of the dataset's own classes under every template, where the method reads
    frozen ones."""
    clip: ClipSpec | None = None
    """For data.features=videos and for trained texts."""
    root: Path | None = None
    """Directory the videos' paths are relative to; for data.features=videos."""
    start: Artifact | None = None
    """The run whose weights this one starts from, instead of CLIP's alone."""

    def of(self, role: Role) -> tuple[Artifact, ...]:
        """The artifacts of a role; none where it is not filled."""
        found = getattr(self, role.name)
        if role.many:
            return tuple(found)
        return () if found is None else (found,)

    def filled(self, roles: list[Role]) -> dict[str, InputRef]:
        """Provenance inputs of these roles, as far as they are filled."""
        artifacts: dict[str, Artifact] = {}
        for role in roles:
            for i, artifact in enumerate(self.of(role)):
                artifacts[f"{role.many}_{i}" if role.many else role.name] = artifact
        return dict(inputs_of(**artifacts))

    def run_key(self, config: RunConfig, name: str) -> Provenance:
        """What decides a `training_run` of that name: settings, code of the method, artifacts."""
        return Provenance(
            kind="training_run",
            name=name,
            config=config.model_dump(mode="json") | {CODE: method_code(config.model.name)},
            inputs=self.used(config),
        )

    def used(self, config: RunConfig) -> dict[str, InputRef]:
        """Provenance of a run: the artifacts that training with this config reads, by role."""
        return self.filled([*roles_read(config), ROLES["start"]])


def own_inputs(store: Store, run: Artifact) -> TrainInputs:
    """What a run was trained on, as far as scoring reads it.

    Raises:
        ValueError: an input is not in the store any more.
    """
    found: dict[str, Any] = {}
    for role in filter(lambda role: role.scoring, ROLES.values()):
        artifacts = [_own(store, run, name) for name in role.named(run.manifest.inputs)]
        if artifacts:
            found[role.name] = tuple(artifacts) if role.many else artifacts[0]
    return TrainInputs(**found)


def _own(store: Store, run: Artifact, name: str) -> Artifact:
    """An input of a run, by its name in the lineage."""
    used = run.manifest.inputs[name]
    artifact = store.get(used.ref)
    if artifact.manifest.content_hash != used.content_hash:
        raise ValueError(f"{artifact.ref} is not what {run.ref} was trained on; train it again")
    return artifact


def needs_clip(config: RunConfig) -> bool:
    """Whether a tower of CLIP is run."""
    towers = config.model.towers(config.data)
    return towers.image or towers.text


def clip_identity(artifact: Artifact) -> dict[str, str]:
    """`arch` and `weights_sha256` of the CLIP that made an artifact.

    Raises:
        ValueError: its config does not say.
    """
    found: dict[str, str] | None = artifact.manifest.config.get("clip")
    if found is None:
        raise ValueError(
            f"{artifact.ref} does not say which CLIP made it; run `actionlore mine` again"
        )
    return found


def run_clip(run: Artifact) -> dict[str, str]:
    """`arch` and `weights_sha256` of the CLIP a run was trained with, as its weights say.

    Raises:
        ValueError: its file is damaged or missing, or no checkpoint of a training run.
    """
    found: dict[str, str] = run_facts(run)["clip"]
    return found


def clip_logit_scale(texts: Artifact, config: MethodConfig) -> float:
    """Factor on cosines of the CLIP that embedded the texts.

    Raises:
        ValueError: it does not say.
    """
    found: float | None = texts.manifest.fact("logit_scale")
    if found is None:
        remedies = ("run `actionlore mine` again", config.without("logit_scale"))
        raise ValueError(
            f"{texts.ref} does not say CLIP's logit scale; {', or '.join(filter(None, remedies))}"
        )
    return found


def frozen_source(artifact: Artifact, role: str) -> InputRef | None:
    """Embeddings of frozen CLIP that a run re-embedded, if it did.

    Args:
        artifact: frame or text embeddings.
        role: `frames` or `texts`.
    """
    inputs = artifact.manifest.inputs
    return inputs.get(role) if "run" in inputs else None
