"""Ground truth about co-occurrence: how many videos hold two classes, from labels or a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from artifacts.artifact import Artifact
from knowledge.datasets.list_files import read_table
from knowledge.extraction.question import ActionClass, read_action_classes
from knowledge.extraction.replies import Vocabulary

COLUMNS = ("class", "other", "count")
"""Columns of a CSV file of truth."""
ANY = "*"
"""Stands for the class, and the other, in the line of such a file that counts all videos."""
SHRINKAGE = 0.5
"""Added to the observed and the expected number of videos of a pair, see `Truth.lift`."""

Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """Ground truth about all ordered pairs of classes, both axes in id order."""

    source: str
    counts: Counts
    """(K, K) videos that hold both; the diagonal is not used."""
    occurrences: Counts
    """(K,) videos that hold the class; without `num_videos` only their order matters."""
    num_videos: int | None = None
    """Videos that hold any class; None if that, or how many hold each, is not known."""

    @property
    def lift(self) -> Reals | None:
        """(K, K) how often a pair occurs relative to independence of its classes; None if unknown.

        Observed to expected videos, n_ij / E_ij with E_ij = n_i n_j / N: the lift of association
        rules ("interest" in Brin et al. 1997), whose logarithm is pointwise mutual information.
        Rare pairs are shrunk towards 1: (n_ij + a) / (E_ij + a) with a = 1/2 (Noren et al. 2013,
        "Shrinkage observed-to-expected ratios"), which leaves unchanged what is above 1.
        """
        if self.num_videos is None:
            return None
        expected = np.outer(self.occurrences, self.occurrences) / max(self.num_videos, 1)
        return np.asarray((self.counts + SHRINKAGE) / (expected + SHRINKAGE))


def truth_of_videos(
    videos: Artifact, classes: Artifact, actions: Sequence[ActionClass] | None = None
) -> Truth:
    """Count the videos of all splits, decodable or not.

    Raises:
        ValueError: not a `videos` artifact, or of another class list.
    """
    if videos.manifest.kind != "videos":
        raise ValueError(f"{videos.ref} holds no ground truth; give videos/NAME or a CSV file")
    labels = labels_of(videos, classes)
    actions = actions or read_action_classes(classes)
    counts = count_videos(labels, actions, np.ones(len(actions), bool))
    return Truth(str(videos.ref), counts, np.diagonal(counts).copy(), sum(map(bool, labels)))


def truth_of_csv(path: Path, actions: Sequence[ActionClass]) -> Truth:
    """Read counts of unordered pairs from columns class, other, count.

    Names are compared by `normalised`. Pairs without a line have count 0. A line with twice the
    same class says how often it occurs at all; without any such line the sum of a class's counts
    stands for that. A line `*,*,N` says how many videos hold any class; lift needs both.

    Raises:
        ValueError: no such columns, an unknown name, a count that is no whole number of at least 0,
            two lines about one pair that differ, or with N a count above that of the class or N.
    """
    given = _pairs_of_csv(path, actions)
    num_videos = given.pop((-1, -1), None)
    counts = np.zeros((len(actions), len(actions)), np.int64)
    for (first, second), count in given.items():
        counts[first, second] = counts[second, first] = count
    if all(first != second for first, second in given):
        return Truth(str(path), counts, counts.sum(axis=1))
    occurrences = np.diagonal(counts).copy()
    if num_videos is not None:
        bounds = np.minimum(occurrences, num_videos)
        for place in np.flatnonzero((counts > bounds[:, None]).any(axis=1)):
            name = actions[int(place)].name
            raise ValueError(
                f"{path}: {name!r} and another are in more videos than {name!r} or {ANY!r}; "
                f"correct that, or leave out the line {ANY},{ANY}"
            )
    return Truth(str(path), counts, occurrences, num_videos)


def count_videos(
    labels: Iterable[Iterable[int]], actions: Sequence[ActionClass], is_base: Flags
) -> Counts:
    """(K, K) videos that hold both classes; novel label columns are zeroed before counting.

    Args:
        labels: class ids of each video.
        actions: classes in id order.
        is_base: (K,) which of them are base.

    Raises:
        ValueError: a video has a class that the list lacks.
    """
    place_of = {each.class_id: place for place, each in enumerate(actions)}
    visible = [{*ids} for ids in labels]
    unknown = sorted(set().union(*visible) - place_of.keys())
    if unknown:
        raise ValueError(f"videos have class_ids {unknown[:5]} that the class list does not have")
    counts = np.zeros((len(actions), len(actions)), np.int64)
    for ids in visible:
        places = [place for place in map(place_of.__getitem__, ids) if is_base[place]]
        counts[np.ix_(places, places)] += 1
    return counts


def labels_of(videos: Artifact, classes: Artifact, split: str | None = None) -> list[list[int]]:
    """Class ids of each video of a split, or of all.

    Raises:
        ValueError: the videos were registered with another class list.
    """
    registered_with = videos.manifest.inputs.get("classes")
    if registered_with is None or registered_with.content_hash != classes.manifest.content_hash:
        raise ValueError(
            f"{videos.ref} was registered with another class list than {classes.ref}; "
            "register the dataset again or give the videos of the same classes"
        )
    rows = videos.read(["split", "class_ids"]).to_pylist()
    return [row["class_ids"] for row in rows if split in (None, row["split"])]


def _pairs_of_csv(path: Path, actions: Sequence[ActionClass]) -> dict[tuple[int, int], int]:
    """Count by places of the two classes in id order; -1 twice for all videos."""
    table = read_table(str(path), "truth")
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"{path}: column {missing[0]!r} is missing; give {', '.join(COLUMNS)}")
    places = Vocabulary(
        {place: (each.name, each.prompt_name) for place, each in enumerate(actions)}
    )
    given: dict[tuple[int, int], int] = {}
    for line, *names, count in table[list(COLUMNS)].itertuples():
        pair = []
        for name in names:
            place = -1 if names == [ANY, ANY] else places.find(name)
            if place is None:
                raise ValueError(
                    f"{path}, line {line}: class {name!r} is not in the class list; correct it"
                )
            pair.append(place)
        if not count.strip().isdecimal():
            raise ValueError(
                f"{path}, line {line}: count {count!r} is no whole number of at least 0; correct it"
            )
        first, second = sorted(pair)
        if given.setdefault((first, second), int(count)) != int(count):
            raise ValueError(
                f"{path}, line {line}: {names[0]!r} and {names[1]!r} had another count before; "
                "leave one out"
            )
    return given
