"""Finding the inputs of a flow in the store by name."""

from __future__ import annotations

from collections.abc import Sequence

from artifacts.artifact import Artifact
from artifacts.frozen import nearest
from artifacts.store import Store
from flows.orchestration.console import say_once
from knowledge.datasets.class_lists import CLASS_LISTS, class_list
from knowledge.datasets.class_names import prompt_name
from knowledge.datasets.registration import register_classes


def classes_of(store: Store, name: str) -> Artifact:
    """The classes of a registered dataset, or a known class list, which is then published.

    Args:
        store: where to look.
        name: NAME (the one used last) or NAME@KEY.

    Raises:
        ValueError: neither.
    """
    if found := _registered(store, name):
        return found
    return register_classes(store, name, class_list(name)).artifact


def classes_named(store: Store, name: str) -> dict[str, str]:
    """The same as names and how prompts spell them; nothing is published.

    Raises:
        ValueError: as for `classes_of`.
    """
    if found := _registered(store, name):
        rows = found.read(["name", "prompt_name"]).to_pylist()
        return {row["name"]: row["prompt_name"] for row in rows}
    return {each: prompt_name(each) for each in class_list(name)["name"]}


def _registered(store: Store, name: str) -> Artifact | None:
    """Registered classes; None where there are none, but a list of that name.

    Raises:
        ValueError: there is no such list either.
    """
    names = {artifact.manifest.name for artifact in store.published("classes")}
    if name.split("@")[0] in names:
        return store.get(f"classes/{name}")
    if name in CLASS_LISTS:
        return None
    known = sorted({*names, *CLASS_LISTS})
    raise ValueError(f"unknown dataset or class list {name!r}; {nearest(name, known)}")


def newest_of(store: Store, kind: str, name: str, **inputs: Artifact) -> Artifact | None:
    """The artifact of a kind and name that was made from exactly these inputs, if any.

    Of several the one that a command made or found last; that is said.
    """
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
    return last_used(fitting)


def last_used(fitting: Sequence[Artifact]) -> Artifact | None:
    """Of artifacts that all fit, the one that a command made or found last; None of none.

    Where there is a choice, it is said once.
    """
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    store = fitting[0].store
    *others, chosen = sorted(fitting, key=store.used_at)
    said = ", ".join(str(each.ref) for each in reversed(others))
    say_once(f"{len(fitting)} artifacts fit: {chosen.ref} is read, the one used last; not {said}")
    return chosen
