"""Clips cut from one video form a group, which must not be in train and in test."""

from __future__ import annotations

from collections.abc import Iterable


def check_groups(groups: Iterable[tuple[str, str, str]]) -> None:
    """Check that every group is in one split.

    Args:
        groups: (group, split, where it was read) of each clip.

    Raises:
        ValueError: a group in several splits.
    """
    first: dict[str, tuple[str, str]] = {}
    for group, split, where in groups:
        other, there = first.setdefault(group, (split, where))
        if other != split:
            raise ValueError(
                f"{where}: group {group!r} is in {split} and in {other} ({there}); "
                "clips of one group must stay in one split, take the official lists"
            )
