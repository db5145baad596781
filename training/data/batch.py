"""Artifacts joined by id into batches; positions of rows in files never matter.

Cached features are fetched by index, whole batches at a time.

Legend: N videos of a split, B videos of a batch, T frames, D embedding, K classes, M texts,
R texts per video (1 + k: its class's prompt first), S pixels.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F

from artifacts.store import Artifact
from artifacts.tensors import read_tensor
from training.config.run import RunConfig
from training.data.checks import TrainInputs
from training.data.frame_cache import frame_arrays

if TYPE_CHECKING:
    from training.data.negatives import Negatives

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips, their classes and, in training, their texts."""

    video_ids: tuple[str, ...]
    clips: torch.Tensor
    """CLIP features (B, T, D) float32, not normalised; or pictures (B, T, 3, S, S) uint8."""
    class_ids_B: torch.Tensor
    texts_BRD: torch.Tensor | None = None
    """CLIP features of the texts, not normalised."""
    text_class_ids_BR: torch.Tensor | None = None
    """-1 where the text is of no class of the dataset, or there is none."""
    text_present_BR: torch.Tensor | None = None
    """False where a video has fewer negatives than R - 1; None: all are present."""
    draws_B: torch.Tensor | None = None
    """In training, a random number below 2^31 for each clip of an epoch."""
    labels_BK: torch.Tensor | None = None
    """For videos of several classes: True for each of a video's, by position in the class list."""

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return Batch(**{**vars(self), **moved})


@dataclass(frozen=True, eq=False)
class ClassList:
    """The dataset's classes by rising id, with the prompt of each."""

    class_ids: tuple[int, ...]
    names: tuple[str, ...]
    prompt_names: tuple[str, ...]
    """The names as prompts spell them."""
    prompts_KD: torch.Tensor
    """CLIP features, not normalised."""
    descriptions_KD: torch.Tensor | None
    """The same for descriptions; the prompt where a class has none. None: there are none at all."""
    without_description: int
    templates_KPD: torch.Tensor | None = None
    """CLIP features of the names in each of the templates a model asks for."""

    def positions(self, class_ids_B: torch.Tensor) -> torch.Tensor:
        """Index into the list of each class id."""
        return torch.searchsorted(torch.tensor(self.class_ids), class_ids_B)


@dataclass(frozen=True, eq=False)
class VideoSet:
    """The usable videos of one split, by rising id."""

    split: str
    video_ids: tuple[str, ...]
    paths: tuple[str, ...]
    class_ids_N: torch.Tensor
    skipped: Counter[str]
    """Videos that cannot be used, by status."""
    num_not_drawn: int = 0
    """Usable videos beyond `data.shots`."""
    labels_NK: torch.Tensor | None = None
    """For videos of several classes: True for each of a video's, by position in the class list.
    `class_ids_N` then holds the first of them, -1 without any."""

    def __len__(self) -> int:
        return len(self.video_ids)

    @property
    def num_listed(self) -> int:
        """Videos of the split, usable or not."""
        return len(self) + self.num_not_drawn + self.skipped.total()


@dataclass(frozen=True)
class Draw:
    """What random decisions about a clip depend on, beside its video."""

    seed: int
    epoch: int

    def generator(self, video_id: str) -> np.random.Generator:
        """A generator of its own for a video."""
        digest = np.frombuffer(hashlib.sha256(video_id.encode()).digest()[:16], np.uint32)
        return np.random.default_rng([self.seed, self.epoch, *digest.tolist()])

    def numbers(self, video_ids: Iterable[str]) -> torch.Tensor:
        """A number (B,) below 2^31 for each video."""
        digests = (f"{self.seed}/{self.epoch}/{video_id}".encode() for video_id in video_ids)
        words = (hashlib.sha256(digest).digest()[:4] for digest in digests)
        return torch.tensor([int.from_bytes(word, "little") >> 1 for word in words])


class ClipSource(Protocol):
    """Where clips come from."""

    unreadable: dict[str, str]
    """Reason by id, of videos found unusable while reading."""
    num_decoded: int
    """Clips decoded so far."""

    def stream(
        self, videos: VideoSet, order: Iterable[Ints], draw: Draw | None
    ) -> Iterator[tuple[Ints, torch.Tensor]]:
        """Index of the videos and their clips, batch by batch; `draw` is None for test."""
        ...


class CachedClips:
    """Frame embeddings in RAM or mapped, as float16 unit rows and their lengths."""

    def __init__(self, frames: Artifact, ram_bytes: int | None = None) -> None:
        """Read and verify them.

        Args:
            frames: the artifact.
            ram_bytes: see `frame_arrays`.

        Raises:
            CorruptArtifactError: a file is damaged.
        """
        self._arrays = frame_arrays(frames, ram_bytes)
        self.ref = frames.ref
        self.status = dict(zip(self._arrays.video_ids, self._arrays.statuses, strict=True))
        self._row = {video_id: i for i, video_id in enumerate(self.status)}
        self.unreadable: dict[str, str] = {}
        self.num_decoded = 0

    @property
    def dim(self) -> int:
        """Embedding width D."""
        return int(self._arrays.units_NTD.shape[-1])

    def fetch(self, video_ids: Sequence[str]) -> torch.Tensor:
        """(B, T, D) float32 CLIP features, not normalised."""
        rows = torch.tensor([self._row[video_id] for video_id in video_ids], dtype=torch.long)
        units_BTD = self._arrays.units_NTD[rows].float()
        return units_BTD * self._arrays.norms_NT[rows][..., None]

    def stream(
        self, videos: VideoSet, order: Iterable[Ints], draw: Draw | None
    ) -> Iterator[tuple[Ints, torch.Tensor]]:
        """Index (B,) of videos and their features (B, T, D); nothing is drawn."""
        for index_B in order:
            yield index_B, self.fetch([videos.video_ids[i] for i in index_B.tolist()])


def read_classes(classes: Artifact, texts: Artifact) -> ClassList:
    """The class list with its texts.

    Raises:
        ValueError: a class without a prompt.
    """
    columns = ["class_id", "name", "prompt_name"]
    rows = sorted(classes.read(columns).to_pylist(), key=lambda row: row["class_id"])
    table = texts.read()
    features_MD = text_features(table)
    found: dict[str, dict[int, list[int]]] = {"prompt": {}, "description": {}}
    for i, row in enumerate(table.select(["source", "class_id"]).to_pylist()):
        found[row["source"]].setdefault(row["class_id"], []).append(i)
    lacking = [row for row in rows if row["class_id"] not in found["prompt"]]
    if lacking:
        raise ValueError(
            f"{texts.ref} has no prompt of class {lacking[0]['class_id']} "
            f"({lacking[0]['name']!r}); run `actionlore mine` again"
        )
    class_ids = [row["class_id"] for row in rows]
    prompts = [found["prompt"][class_id] for class_id in class_ids]
    mixed = [found["description"].get(c, p) for c, p in zip(class_ids, prompts, strict=True)]
    described = bool(found["description"])
    return ClassList(
        class_ids=tuple(class_ids),
        names=tuple(row["name"] for row in rows),
        prompt_names=tuple(row["prompt_name"] for row in rows),
        prompts_KD=_ensembles(features_MD, prompts),
        descriptions_KD=_ensembles(features_MD, mixed) if described else None,
        without_description=sum(c not in found["description"] for c in class_ids) * described,
    )


def _ensembles(features_MD: torch.Tensor, members: Sequence[Sequence[int]]) -> torch.Tensor:
    """(K, D): per class its text's feature, or the mean of its texts' unit rows (CLIP's way)."""
    return torch.stack(
        [
            features_MD[rows[0]]
            if len(rows) == 1
            else F.normalize(features_MD[rows], dim=-1).mean(dim=0)
            for rows in map(list, members)
        ]
    )


def text_features(table: pa.Table) -> torch.Tensor:
    """(M, D) float32 CLIP features of a text_embeddings table, not normalised."""
    norms = torch.from_numpy(table["feature_norm"].to_numpy().astype(np.float32))
    return torch.from_numpy(read_tensor(table, "embedding")).float() * norms[:, None]


def read_videos(
    inputs: TrainInputs,
    config: RunConfig,
    split: str,
    cached: CachedClips | None,
    training: bool = False,
) -> VideoSet:
    """The videos of a split; those without frames are left out and counted by status.

    Args:
        inputs: the artifacts.
        config: of the run.
        split: train, val or test.
        cached: the frame embeddings; None: clips come from videos.
        training: whether they are trained on, which is where `data.shots` counts.

    Raises:
        ValueError: no video in the split, a video with other than one class where the model wants
            that, or with an unknown one, a video that the frame embeddings lack, more unusable
            videos than the config allows, or a class with fewer videos than shots.
    """
    columns = ["video_id", "path", "split", "class_ids", "status"]
    table = inputs.videos.read(columns)
    rows = table.filter(pc.equal(table["split"], split)).to_pylist()
    if not rows:
        there = sorted(set(table["split"].to_pylist()))
        raise ValueError(
            f"{inputs.videos.ref} has no video in split {split!r}; "
            f"it has {', '.join(there) or 'none at all'}"
        )
    known = sorted(inputs.classes.read(["class_id"])["class_id"].to_pylist())
    several = getattr(config.model, "multilabel", None) is not None
    kept, skipped = [], Counter[str]()
    for row in sorted(rows, key=lambda row: row["video_id"]):
        _check_row(row, set(known), inputs, several)
        status = row["status"] if cached is None else _cached_status(row, cached, inputs)
        if status == "ok":
            kept.append(row)
        else:
            skipped[status] += 1
    check_share(skipped.total(), len(rows), config, f"split {split!r} of {inputs.videos.ref}")
    num_usable = len(kept)
    if config.data.shots and training:
        kept = few_shots(kept, known, config, f"split {split!r} of {inputs.videos.ref}")
    labels_NK = None
    if several:
        labels_NK = torch.tensor([[c in row["class_ids"] for c in known] for row in kept])
    return VideoSet(
        split=split,
        video_ids=tuple(row["video_id"] for row in kept),
        paths=tuple(row["path"] for row in kept),
        class_ids_N=torch.tensor([(*row["class_ids"], -1)[0] for row in kept], dtype=torch.long),
        skipped=skipped,
        num_not_drawn=num_usable - len(kept),
        labels_NK=labels_NK,
    )


def few_shots(
    rows: Sequence[dict[str, Any]], class_ids: Sequence[int], config: RunConfig, where: str
) -> list[dict[str, Any]]:
    """`data.shots` videos of each class, drawn by the seed; the first K of a fixed random order.

    Args:
        rows: usable videos of one class each, by rising id.
        class_ids: all classes.
        config: shots and seed.
        where: for the error message.

    Raises:
        ValueError: a class has fewer videos.
    """
    shots, chosen = config.data.shots, list[dict[str, Any]]()
    of_class: dict[int, list[dict[str, Any]]] = {class_id: [] for class_id in class_ids}
    for row in rows:
        of_class[row["class_ids"][0]].append(row)
    for class_id, members in of_class.items():
        if len(members) < (shots or 0):
            raise ValueError(
                f"{where} has {len(members)} usable videos of class {class_id}, fewer than "
                f"data.shots={shots}; set data.shots={len(members)} or less"
            )
        order = np.random.default_rng([config.seed, class_id]).permutation(len(members))
        chosen += [members[i] for i in order[:shots].tolist()]
    return sorted(chosen, key=lambda row: str(row["video_id"]))


def check_share(unusable: int, total: int, config: RunConfig, where: str) -> None:
    """Refuse to go on with too few videos.

    Raises:
        ValueError: none is usable, or more are not than `data.max_unreadable` allows.
    """
    limit = config.data.max_unreadable
    if unusable > limit * total or unusable == total:
        raise ValueError(
            f"{where}: {unusable} of {total} videos cannot be used, more than "
            f"data.max_unreadable={limit:g} allows; see their reasons, or raise the limit"
        )


def epoch_order(num_videos: int, seed: int, epoch: int) -> Ints:
    """The videos' order in an epoch: depends on seed and epoch only."""
    return np.random.default_rng([seed, epoch]).permutation(num_videos).astype(np.int64)


def chunks(order: Ints, batch_size: int) -> Iterator[Ints]:
    """Batches of an order; the last one may be smaller, no video is left out."""
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def make_batch(
    videos: VideoSet,
    index_B: Ints,
    clips: torch.Tensor,
    negatives: Negatives | None,
    draw: Draw | None = None,
) -> Batch:
    """A batch of clips already fetched for the videos at `index_B`; `draw` is None for test."""
    index = torch.from_numpy(index_B)
    batch: dict[str, Any] = {
        "video_ids": tuple(videos.video_ids[i] for i in index_B.tolist()),
        "clips": clips,
        "class_ids_B": videos.class_ids_N[index],
    }
    if draw is not None:
        batch["draws_B"] = draw.numbers(batch["video_ids"])
    if videos.labels_NK is not None:
        batch["labels_BK"] = videos.labels_NK[index]
    if negatives is not None:
        present_BR = negatives.present_NR[index]
        batch |= {
            "texts_BRD": negatives.features_MD[negatives.rows_NR[index]],
            "text_class_ids_BR": negatives.class_ids_NR[index],
            "text_present_BR": None if bool(present_BR.all()) else present_BR,
        }
    return Batch(**batch)


def _check_row(row: dict[str, Any], known: set[int], inputs: TrainInputs, several: bool) -> None:
    class_ids = row["class_ids"]
    if len(class_ids) != 1 and not several:
        raise ValueError(
            f"{inputs.videos.ref}: video {row['video_id']!r} has {len(class_ids)} classes, but the "
            "model needs exactly one; register the dataset with one class per video, or train "
            "actionclip with model.multilabel=kl"
        )
    if unknown := [class_id for class_id in class_ids if class_id not in known]:
        raise ValueError(
            f"{inputs.videos.ref}: video {row['video_id']!r} has class {unknown[0]}, which "
            f"{inputs.classes.ref} does not hold; run `actionlore register` again"
        )


def _cached_status(row: dict[str, Any], cached: CachedClips, inputs: TrainInputs) -> str:
    if row["video_id"] not in cached.status:
        raise ValueError(
            f"{cached.ref} lacks video {row['video_id']!r} of {inputs.videos.ref}; "
            "run `actionlore mine` again"
        )
    return str(cached.status[row["video_id"]])
