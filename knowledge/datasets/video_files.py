"""Finding videos by their names, whatever directories they are in."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from knowledge.datasets.listing import VIDEO_SUFFIXES


class VideoFiles:
    """The video files below a directory by name without suffix; links are followed."""

    def __init__(self, root: Path) -> None:
        """List the directory once."""
        self.num_repeated = 0
        """How many of the names found so far stand for several files."""
        self._paths: dict[str, list[str]] = defaultdict(list)
        seen: set[str] = set()
        for directory, subdirectories, names in os.walk(root, followlinks=True):
            real = os.path.realpath(directory)
            if real in seen:  # a link to a directory that was listed before
                subdirectories.clear()
                continue
            seen.add(real)
            subdirectories.sort()
            within = os.path.relpath(directory, root).replace(os.sep, "/")
            prefix = "" if within == "." else within + "/"
            for name in names:
                stem, suffix = os.path.splitext(name)  # noqa: PTH122
                if suffix.lower() in VIDEO_SUFFIXES:
                    self._paths[stem].append(prefix + name)

    def find(self, *stems: str) -> str | None:
        """Path, relative to the root, of the first of these names that is there.

        Of several files with that name it is the first in alphabetical order.
        """
        for stem in stems:
            if paths := self._paths.get(stem):
                self.num_repeated += len(paths) > 1
                return min(paths)
        return None
