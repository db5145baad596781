"""Class probabilities of a split's videos, each video scored exactly once whoever scores it.

Legend: B videos, V views of a video, N videos of a split, T frames, D embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from artifacts.jobs import Progress
from training.config.run import RunConfig
from training.data.class_list import ClassList
from training.data.order import Ints, chunks
from training.data.sources import ClipSource
from training.data.video_set import VideoSet, check_share
from training.distributed.group import Group
from training.layers.losses import full_precision
from training.models.method import Classifier, Method, mean_of_unit_frames

ZERO_SHOT_SCALE = 100.0
"""Factor on cosines in zero-shot probabilities, CLIP's own."""


@dataclass(frozen=True)
class Pass:
    """Protocols that read the same clips."""

    method: Method | None
    """Makes features of the clips; None where they are frozen CLIP's features already."""
    source: ClipSource
    videos: VideoSet
    classifiers: dict[str, Classifier]


@dataclass(frozen=True, eq=False)
class Scored:
    """What was found of the readable videos of a split, by rising index, on the CPU."""

    index_N: Ints
    top_positions: dict[str, torch.Tensor]
    """By protocol: positions in the class list (N, num_top), most probable first."""
    top_probabilities: dict[str, torch.Tensor]

    def ranked(
        self, protocol: str, classes: ClassList
    ) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        """Index of each video, with columns of `predictions` about its most probable classes."""
        for i, order, probabilities in zip(
            self.index_N.tolist(),
            self.top_positions[protocol].tolist(),
            self.top_probabilities[protocol].tolist(),
            strict=True,
        ):
            yield (
                i,
                {
                    "top_class_ids": [classes.class_ids[position] for position in order],
                    "top_probabilities": probabilities,
                },
            )


def check_readable(each: Pass, found: Scored, config: RunConfig) -> None:
    """Refuse a score of too few videos; one process sees only its own share of the unreadable.

    Raises:
        ValueError: more of the split's videos are unusable than the config allows.
    """
    unusable = each.videos.num_listed - each.videos.num_not_drawn - len(found.index_N)
    check_share(unusable, each.videos.num_listed, config, f"split {each.videos.split!r}")


def scored(
    each: Pass,
    num_top: int,
    batch_size: int,
    group: Group,
    progress: Progress | None = None,
) -> Scored:
    """The most probable classes of every readable video, each read by one process only.

    Args:
        each: what to read and how to classify; the method in evaluation mode.
        num_top: classes kept per video and protocol, at most K.
        batch_size: videos per forward pass.
        group: the processes; all of them get everything.
        progress: told this process's videos.
    """
    mine: Ints = group.part(np.arange(len(each.videos), dtype=np.int64))
    index = [np.zeros(0, np.int64)]
    order: dict[str, list[torch.Tensor]] = {name: [] for name in each.classifiers}
    best: dict[str, list[torch.Tensor]] = {name: [] for name in each.classifiers}
    for index_B, probabilities in outputs(each, mine, batch_size, group.device):
        index.append(index_B)
        for name, found_BK in probabilities.items():
            best_BK, order_BK = found_BK.sort(dim=1, descending=True, stable=True)
            best[name].append(best_BK[:, :num_top])
            order[name].append(order_BK[:, :num_top])
        if progress:
            progress(sum(map(len, index)), len(mine))
    index_n = torch.from_numpy(np.concatenate(index))
    counts = group.all_counts(len(index_n))

    def whole(parts: list[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
        return group.all_gather(torch.cat([torch.zeros(0, num_top, dtype=dtype), *parts]), counts)

    index_N = group.all_gather(index_n, counts)
    rising = index_N.argsort()
    return Scored(
        index_N[rising].numpy(),
        {name: whole(parts, torch.long)[rising] for name, parts in order.items()},
        {name: whole(parts, torch.float64)[rising] for name, parts in best.items()},
    )


@torch.no_grad()
def outputs(
    each: Pass, mine: Ints, batch_size: int, device: torch.device
) -> Iterator[tuple[Ints, dict[str, torch.Tensor]]]:
    """Index (B,) of videos and what the classifiers give for them on the CPU, by protocol.

    Of several views of a video the probabilities (B, K) are averaged, never the logits.

    Args:
        each: what to read, and what to make of it.
        mine: index of the videos.
        batch_size: videos per forward pass.
        device: where the method is.
    """
    for index_B, clips in each.source.stream(each.videos, chunks(mine, batch_size), None):
        is_features = clips.dtype != torch.uint8
        views = clips.ndim > (3 if is_features else 5)
        flat = clips.flatten(0, 1) if views else clips
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            flat = flat.to(device)
            features = flat if each.method is None else each.method.features(flat)
            found = {name: classify(features) for name, classify in each.classifiers.items()}
        if views:
            shape = (*clips.shape[:2], -1)
            found = {name: each_BK.view(shape).mean(dim=1) for name, each_BK in found.items()}
        yield index_B, {name: full_precision(found_BK).cpu() for name, found_BK in found.items()}


def zero_shot(features_BTD: torch.Tensor, texts_KD: torch.Tensor) -> torch.Tensor:
    """Frozen CLIP's logits (B, K): 100 cos(mean of unit frames, text), as mining measures it."""
    with torch.autocast(features_BTD.device.type, enabled=False):
        video_BD = F.normalize(mean_of_unit_frames(features_BTD), dim=-1)
        return ZERO_SHOT_SCALE * video_BD @ F.normalize(texts_KD, dim=-1).T


def zero_shot_classifier(texts_KD: torch.Tensor, device: torch.device) -> Classifier:
    """Frozen CLIP as a protocol."""
    texts_KD = texts_KD.to(device)
    return lambda features_BTD: zero_shot(features_BTD, texts_KD).double().softmax(1)
