"""Finding the inputs of a flow in the store by name."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from artifacts.artifact import Artifact
from artifacts.store import Store
from knowledge.datasets.class_lists import CLASS_LISTS, class_list
from knowledge.datasets.registration import register_classes


def bare_name(text: str, *kinds: str) -> str:
    """NAME or NAME@KEY of an artifact that was given so, or as KIND/NAME.

    Args:
        text: what was given.
        kinds: those that fit.

    Raises:
        ValueError: it is of another kind.
    """
    kind, slash, name = text.rpartition("/")
    if slash and kind not in kinds:
        raise ValueError(
            f"{text} is no {' or '.join(kinds)}; give NAME or NAME@KEY of one, or {kinds[0]}/NAME"
        )
    return name


RunName = Annotated[str, AfterValidator(lambda text: bare_name(text, "training_run"))]
"""NAME (the newest) or NAME@KEY of a `training_run`, also behind the kind."""

MinedName = Annotated[str, AfterValidator(lambda text: bare_name(text, "negatives", "videos"))]
"""The same of `negatives`, or of `videos` where nothing has to be mined."""

VideosName = Annotated[str, AfterValidator(lambda text: bare_name(text, "videos"))]
"""The same of `videos`."""

ClassesName = Annotated[str, AfterValidator(lambda text: bare_name(text, "classes", "videos"))]
"""The same of `classes`, or of their dataset."""


def classes_of(store: Store, name: str) -> Artifact:
    """The classes of a registered dataset, or a known class list, which is then published.

    Args:
        store: where to look.
        name: NAME (the newest) or NAME@KEY.

    Raises:
        ValueError: neither.
    """
    names = {artifact.manifest.name for artifact in store.published("classes")}
    if name.split("@")[0] in names:
        return store.get(f"classes/{name}")
    if name in CLASS_LISTS:
        return register_classes(store, name, class_list(name)).artifact
    raise ValueError(
        f"unknown dataset or class list {name!r}; "
        f"registered: {', '.join(sorted(names)) or 'none'}; "
        f"known lists: {', '.join(sorted(CLASS_LISTS))}"
    )


def newest_of(store: Store, kind: str, name: str, **inputs: Artifact) -> Artifact | None:
    """The newest artifact of a kind and name that was made from exactly these inputs, if any."""
    fitting = [
        artifact
        for artifact in store.published(kind)
        if artifact.manifest.name == name
        and all(
            role in artifact.manifest.inputs
            and artifact.manifest.inputs[role].content_hash == item.manifest.content_hash
            for role, item in inputs.items()
        )
    ]
    return max(fitting, key=lambda artifact: artifact.manifest.created, default=None)
