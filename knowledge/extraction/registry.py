"""The knowledge kinds, found by name: each module of `knowledge.extraction.kinds` is one."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, Protocol, cast

from artifacts.frozen import check_known
from knowledge.extraction import kinds

if TYPE_CHECKING:
    from artifacts.artifact import Artifact, Outcome
    from artifacts.store import Store
    from knowledge.extraction.question import Question


class KindModule(Protocol):
    """What a module of `knowledge.extraction.kinds` offers; its `CONFIG.kind` is its file name."""

    CONFIG: type[Question]
    """Settings, requests and the form of a reply."""

    def build(
        self,
        store: Store,
        classes: Artifact,
        calls: Artifact,
        config: Any,
        *,
        min_coverage: float = 0.0,
        videos: Artifact | None = None,
    ) -> Outcome:
        """Publish the knowledge in the replies.

        Args:
            store: where to look and publish.
            classes: the class list.
            calls: the replies to `config.question` about it.
            config: an instance of `CONFIG`.
            min_coverage: share of the classes that must be answered usably.
            videos: the classes' dataset, where `config.needs_videos`.

        Raises:
            ValueError: inputs that do not belong together, or too few usable replies.
        """


def kind_names() -> tuple[str, ...]:
    """Names of all kinds, sorted; none of them is imported."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(kinds.__path__)))


def check_kind(name: str) -> None:
    """Refuse what is no kind.

    Raises:
        ValueError: unknown kind.
    """
    check_known("knowledge kind", name, kind_names())


def kind_module(name: str) -> KindModule:
    """The module of a kind.

    Raises:
        ValueError: unknown kind.
    """
    check_kind(name)
    return cast(KindModule, importlib.import_module(f"{kinds.__name__}.{name}"))
