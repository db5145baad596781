"""Finding videos below a directory, whatever directories they are in; what is left out is counted.

Links to directories are followed, each directory once. Folders and files that operating systems,
network drives and notebooks put beside one's own are none of a dataset.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

USUAL_SUFFIXES = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
_OTHER_SUFFIXES = (
    (".3g2", ".3gp", ".dv", ".m2ts", ".mod", ".mts", ".mxf", ".qt", ".tod"),  # of cameras
    (".amv", ".asf", ".divx", ".f4v", ".flv", ".ogm", ".ogv", ".rm", ".rmvb", ".wmv"),
    (".m1v", ".m2v", ".mpe", ".ts", ".vob", ".wtv"),  # of broadcasts and discs
    (".h264", ".h265", ".hevc", ".ivf", ".mjpeg", ".mjpg", ".nut", ".y4m"),  # bare streams
)
VIDEO_SUFFIXES = frozenset(itertools.chain(USUAL_SUFFIXES, *_OTHER_SUFFIXES))
"""Suffixes of files that FFmpeg reads as videos, in lower case."""
SYSTEM_FOLDERS = {
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "@eadir",
    "@recently-snapshot",
    "@recycle",
    "__macosx",
    "__pycache__",
    "lost+found",
    "network trash folder",
    "system volume information",
    "temporary items",
}
"""Names in lower case; a name that begins with a dot is one of them, too."""
_NUM_REASONS = 8
"""Kinds of folders, and of files, that are told apart; the rarer ones are counted together."""


def is_video(name: str) -> bool:
    """Whether a file is a video by its name."""
    return not name.startswith("._") and _suffix(name) in VIDEO_SUFFIXES


def without_suffix(name: str) -> str:
    """A name or path without the suffix of a video; dots of other names stay."""
    suffix = _suffix(name)
    return name[: -len(suffix)] if suffix in VIDEO_SUFFIXES else name


def is_system_folder(name: str) -> bool:
    """Whether a folder was made by a system and not for a dataset."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


@dataclass(frozen=True)
class Found:
    """A video by its name."""

    path: str
    is_directory: bool


class Walk:
    """Goes through directories, finds videos and counts what it leaves out."""

    def __init__(self) -> None:
        """Nothing is left out yet."""
        self._folders, self._files = Counter[str](), Counter[str]()

    @property
    def left_out(self) -> dict[str, int]:
        """Numbers of folders and files by reason, of the most frequent kinds first."""
        kinds = {"other folders": self._folders, "other files": self._files}
        found = dict[str, int]()
        for others, counts in kinds.items():
            most = dict(counts.most_common(_NUM_REASONS))
            rest = counts.total() - sum(most.values())
            found |= most | ({others: rest} if rest else {})
        return found

    def folders(self, directory: Path) -> list[Path]:
        """The directories in one, in order; videos and other files beside them are left out."""
        inside = sorted(directory.iterdir())
        folders = [path for path in inside if path.is_dir()]
        self._count_files(path.name for path in inside if not path.is_dir())
        loose = sum(is_video(path.name) for path in inside if not path.is_dir())
        self._files.update({"videos outside class directories": loose} if loose else {})
        own = self._own([path.name for path in folders])
        return [path for path in folders if path.name in own]

    def videos(self, directory: Path, *above: Path) -> Iterator[Found]:
        """What is a video by its name below a directory, with its path from there.

        Args:
            directory: where to look.
            above: directories that are not entered, should a link lead to them.
        """
        seen = {os.path.realpath(each) for each in above}
        for folder, subfolders, names in os.walk(
            directory, followlinks=True, onerror=self._unreadable
        ):
            real = os.path.realpath(folder)
            if real in seen:  # a link to a directory that was listed before
                subfolders.clear()
                continue
            seen.add(real)
            subfolders[:] = sorted(self._own(subfolders))
            within = os.path.relpath(folder, directory).replace(os.sep, "/")
            prefix = "" if within == "." else within + "/"
            self._count_files(names)
            for name in names:
                if is_video(name):
                    yield Found(prefix + name, is_directory=False)
            for name in subfolders:
                if is_video(name):
                    yield Found(prefix + name, is_directory=True)

    def _own(self, names: list[str]) -> set[str]:
        """Names of folders without those of systems, which are counted."""
        systems = [name for name in names if is_system_folder(name)]
        self._folders.update(f"folders named {name}" for name in systems)
        return set(names) - set(systems)

    def _count_files(self, names: Iterable[str]) -> None:
        for name in names:
            if not is_video(name):
                suffix = _suffix(name)
                kind = (
                    "._*" if name.startswith("._") else f"*{suffix}" if suffix else "without a dot"
                )
                self._files[f"files named {kind}"] += 1

    def _unreadable(self, error: OSError) -> None:
        self._folders["folders that cannot be read"] += 1


class VideoFiles:
    """The video files below a directory by name without suffix."""

    def __init__(self, root: Path) -> None:
        """List the directory once."""
        self.num_repeated = 0
        """How many of the names found so far stand for several files."""
        self._walk = Walk()
        self._paths: dict[str, list[str]] = defaultdict(list)
        for found in self._walk.videos(root):
            if not found.is_directory:
                self._paths[without_suffix(found.path.rpartition("/")[2])].append(found.path)

    @property
    def counts(self) -> Mapping[str, int]:
        """What was doubtful or left out, by reason."""
        return {"with several files": self.num_repeated} | self._walk.left_out

    def find(self, *stems: str) -> str | None:
        """Path, relative to the root, of the first of these names that is there.

        Of several files with that name it is the first in alphabetical order, of usual formats
        before others.
        """
        for stem in stems:
            if paths := self._paths.get(stem):
                self.num_repeated += len(paths) > 1
                return min(paths, key=lambda path: (_suffix(path) not in USUAL_SUFFIXES, path))
        return None


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122
