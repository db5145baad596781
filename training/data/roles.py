"""What a run may read: one line for each role an artifact can have.

A method reads `classes`, `videos` and `texts`, `frames` where its clips are cached, `templates` and
what its config's `reads` names; `start` where the run goes on from another one.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.config.run import RunConfig


@dataclass(frozen=True)
class Role:
    """A field of `TrainInputs`."""

    name: str
    kind: str
    """Of the artifact."""
    command: str
    """Of `actionlore`, makes such an artifact anew."""
    made_from: str | None = None
    """Role of the artifact it must have been made from."""
    scoring: bool = True
    """Whether scoring a run reads it too."""
    many: bool = False
    """Any number of artifacts, in an order that counts."""


ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        Role("classes", "classes", "register"),
        Role("videos", "videos", "register", made_from="classes"),
        Role("texts", "text_embeddings", "mine", made_from="classes"),
        Role("frames", "frame_embeddings", "mine", made_from="videos"),
        Role("templates", "text_embeddings", "train", made_from="classes"),
        Role("negatives", "negatives", "mine", made_from="videos", scoring=False),
        Role("corpora", "text_embeddings", "mine", scoring=False, many=True),
        Role("start", "training_run", "train", scoring=False),
    )
}
"""By name."""


def roles_read(config: RunConfig, training: bool = True) -> list[Role]:
    """Roles that a run with this config reads, in training or in scoring; but for `start`."""
    names = ["classes", "videos", "texts"]
    names += ["frames"] if config.data.features == "cached" else []
    names += ["templates"] if config.model.templates() else []
    names += config.model.reads()
    return [ROLES[name] for name in names if training or ROLES[name].scoring]
