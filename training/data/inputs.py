"""The artifacts a run is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from artifacts.artifact import Artifact
from artifacts.provenance import InputRef, inputs_of
from training.config.run import RunConfig
from training.models.actionclip.config import ActionClipConfig
from training.models.actionclip.prompts import family_templates

if TYPE_CHECKING:
    from knowledge.clip.weights import ClipSpec


@dataclass(frozen=True)
class TrainInputs:
    """What training and evaluation consume."""

    classes: Artifact
    videos: Artifact
    texts: Artifact
    """`text_embeddings` of the dataset's own classes."""
    frames: Artifact | None = None
    """`frame_embeddings`; for data.features=cached."""
    negatives: Artifact | None = None
    """For model.negatives.k > 0."""
    corpora: tuple[Artifact, ...] = ()
    """`text_embeddings` of further class lists; for model.negatives.corpus=union."""
    templates: Artifact | None = None
    """`text_embeddings` of the dataset's own classes under every template; for
    model.text.trainable=false of actionclip."""
    clip: ClipSpec | None = None
    """For data.features=videos and model.text.trainable=true."""
    root: Path | None = None
    """Directory the videos' paths are relative to; for data.features=videos."""

    def used(self, config: RunConfig) -> dict[str, InputRef]:
        """Provenance of a run: the artifacts that this config reads, by role."""
        negatives = config.negatives
        roles: dict[str, Artifact | None] = {
            "classes": self.classes,
            "videos": self.videos,
            "texts": self.texts,
        }
        if config.data.features == "cached":
            roles["frames"] = self.frames
        if wanted_templates(config):
            roles["templates"] = self.templates
        if negatives.k:
            roles["negatives"] = self.negatives
            if negatives.corpus == "union":
                roles |= {f"corpus_{i}": corpus for i, corpus in enumerate(self.corpora)}
        return dict(inputs_of(**roles))


def wanted_templates(config: RunConfig) -> tuple[str, ...]:
    """Templates whose frozen embeddings the model reads."""
    model = config.model
    if not isinstance(model, ActionClipConfig) or model.text.trainable:
        return ()
    return family_templates(model.text.templates)


def needs_clip(config: RunConfig) -> bool:
    """Whether a tower of CLIP is run."""
    text = isinstance(config.model, ActionClipConfig) and config.model.text.trainable
    return text or config.data.features == "videos"


def clip_identity(artifact: Artifact) -> dict[str, str]:
    """`arch` and `weights_sha256` of the CLIP that made an artifact.

    Raises:
        ValueError: its config does not say.
    """
    found = artifact.manifest.config.get("clip")
    if not isinstance(found, dict):
        refuse(artifact, "does not say which CLIP made it", "mine")
    return found


def clip_logit_scale(texts: Artifact) -> float:
    """Factor on cosines of the CLIP that embedded the texts.

    Raises:
        ValueError: its report does not say.
    """
    found = texts.manifest.report.get("logit_scale")
    if not isinstance(found, float):
        refuse(texts, "does not say CLIP's logit scale", "mine", "set model.logit_scale.init=100")
    return found


def frozen_source(artifact: Artifact, role: str) -> InputRef | None:
    """Embeddings of frozen CLIP that a run re-embedded, if it did.

    Args:
        artifact: frame or text embeddings.
        role: `frames` or `texts`.
    """
    inputs = artifact.manifest.inputs
    return inputs.get(role) if "run" in inputs else None


def refuse(artifact: Artifact, what: str, command: str, otherwise: str = "") -> NoReturn:
    """Refuse an artifact, with the command that makes it anew.

    Raises:
        ValueError: always.
    """
    alternative = f", or {otherwise}" if otherwise else ""
    raise ValueError(f"{artifact.ref} {what}; run `actionlore {command}` again{alternative}")
