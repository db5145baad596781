"""What a run may read: one line for each role an artifact can have.

A method reads `classes`, `videos` and `texts`, `frames` where its clips are cached, `templates` and
what its config's `reads` names; `start` where the run goes on from another one. A new role is a
line here and a field of `TrainInputs`: it is found in the store as the artifact of its kind, used
last, that was made from the run's `made_from`, and checked like the others.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    """Role of the artifact it must have been made from, which is one that has no `many`."""
    scoring: bool = True
    """Whether scoring a run reads it too."""
    many: str | None = None
    """Any number of artifacts, in an order that counts: what each is called in the lineage of a
    run, before its number. None: one artifact."""
    setting: str | None = None
    """What makes a run read it, where that is no setting of the method."""
    missing: str | None = None
    """What to do where it is missing, instead of the command."""

    @property
    def is_embedded(self) -> bool:
        """Whether CLIP made the artifact."""
        return self.kind.endswith("_embeddings")

    def named(self, lineage: Iterable[str]) -> list[str]:
        """Names of its artifacts among those of a run's inputs, in their order."""
        if self.many is None:
            return [name for name in lineage if name == self.name]
        numbers = (name.removeprefix(f"{self.many}_") for name in lineage)
        return [f"{self.many}_{i}" for i in sorted(int(n) for n in numbers if n.isdigit())]


def table(*roles: Role) -> dict[str, Role]:
    """Roles by name.

    Raises:
        ValueError: one is made from no role of one artifact.
    """
    found = {role.name: role for role in roles}
    single = [role.name for role in roles if not role.many]
    for role in roles:
        if role.made_from is not None and role.made_from not in single:
            raise ValueError(
                f"made_from={role.made_from!r} of the role {role.name} is no role of one artifact; "
                f"write one of {', '.join(single)}"
            )
    return found


ROLES: dict[str, Role] = table(
    Role("classes", "classes", "register"),
    Role("videos", "videos", "register", made_from="classes"),
    Role("texts", "text_embeddings", "mine", made_from="classes"),
    Role(
        *("frames", "frame_embeddings", "mine"),
        made_from="videos",
        setting="data.features=cached",
    ),
    Role(
        *("templates", "text_embeddings", "train"),
        made_from="classes",
        missing="train with --clip and --clip-weights, which makes it",
    ),
    Role("negatives", "negatives", "mine", made_from="videos", scoring=False),
    Role("corpora", "text_embeddings", "mine", scoring=False, many="corpus"),
    Role("start", "training_run", "train", scoring=False),
)
"""By name."""


def roles_read(config: RunConfig, training: bool = True) -> list[Role]:
    """Roles that a run with this config reads, in training or in scoring; but for `start`."""
    names = ["classes", "videos", "texts"]
    names += ["frames"] if config.data.features == "cached" else []
    names += ["templates"] if config.model.templates() else []
    names += config.model.reads()
    return [ROLES[name] for name in names if training or ROLES[name].scoring]
