"""A run made in one pass over the training videos, for methods without gradient steps.

Legend: B videos, N videos of a split.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from artifacts.jobs import Progress
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.data.batch import Joined, make_batch
from training.data.inputs import TrainInputs
from training.data.order import EpochSeed, Ints, chunks
from training.data.run_data import TrainData
from training.data.sources import ClipSource
from training.data.video_set import VideoSet, check_share
from training.distributed.group import Group
from training.evaluation.scoring import Pass
from training.evaluation.validation import selection
from training.layers.losses import full_precision
from training.loop.epochs import seen_once
from training.loop.state import Trained
from training.models.build import assemble, read_data
from training.models.fitted import FittedMethod
from training.models.method import Encoded


@dataclass(frozen=True, eq=False)
class FitRun:
    """A run before its pass."""

    config: RunConfig
    data: TrainData
    source: ClipSource
    method: FittedMethod
    group: Group
    progress: Progress | None


def begin_fit(
    inputs: TrainInputs,
    config: RunConfig,
    group: Group,
    runtime: RuntimeOptions,
    progress: Progress | None,
) -> FitRun:
    """Read all but the clips, and build the method.

    Raises:
        ValueError: as for `training.loop.trainer.train`.
    """
    data, config = read_data(inputs, config), seen_once(config)
    given = (config, data.classes, data.cached, group.device, runtime.workers)
    method, source = assemble(inputs, *given)
    assert isinstance(method, FittedMethod)
    return FitRun(config, data, source, method.eval(), group, progress)


@dataclass(eq=False)
class EncodedVideos:
    """What the method made of the readable videos of a split; a source of them as they are."""

    index_N: Ints
    """Of the videos, rising."""
    encoded: Encoded
    unreadable: dict[str, str] = field(default_factory=dict)
    num_decoded: int = 0

    def stream(
        self, videos: VideoSet, order: Iterable[Ints], draw: EpochSeed | None
    ) -> Iterator[tuple[Ints, torch.Tensor]]:
        """Index (B,) of readable videos and their embeddings (B, D); nothing is drawn."""
        for index_B in order:
            readable_B = index_B[np.isin(index_B, self.index_N)]
            if len(readable_B):
                row_B = np.searchsorted(self.index_N, readable_B)
                yield readable_B, self.encoded["video_BD"][row_B]


def fit(run: FitRun) -> Trained:
    """Encode all videos, let the method learn from them, and validate it.

    Raises:
        ValueError: as for `training.loop.trainer.train`.
    """
    started, data, method = time.monotonic(), run.data, run.method
    train = _encoded(run, data.videos, data.joined, run.progress)
    val = None if data.val is None else _encoded(run, data.val, data.val_joined, None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.config.seed)
        found = method.fit(train.encoded, None if val is None else val.encoded)
    row: dict[str, Any] = {"epoch": 1, "step": 0, "loss": found["loss"], "learning_rate": 0.0}
    row |= {"val_top1": None, "val_map": None}
    if data.val is not None and val is not None:
        with torch.no_grad():
            scores = Pass(None, val, data.val, {"": method.classifier(data.classes)})
        metric, value = selection(scores, data.classes, run.config, run.group)
        row[f"val_{metric}"] = value
    report = {
        **{name: value for name, value in row.items() if name.startswith("val_")},
        **found,
        "videos": len(data.videos),
        "videos_skipped": dict(data.videos.skipped),
        "videos_unreadable": dict(run.source.unreadable),
        **{name: count for each in data.joined for name, count in each.counts.items()},
        "device": str(run.group.device),
        "processes": run.group.size,
        "duration_s": time.monotonic() - started,
    }
    work = {"epochs": 1, "videos_decoded": sum(run.group.all_counts(run.source.num_decoded))}
    dim = int(data.classes.prompts_KD.shape[1])
    return Trained([row], method.trained_state(), dim, report, work)


@torch.no_grad()
def _encoded(
    run: FitRun, videos: VideoSet, joined: Sequence[Joined], progress: Progress | None
) -> EncodedVideos:
    """What the method makes of every readable video, by rising id, in every process."""
    group, source, device = run.group, run.source, run.group.device
    mine = group.part(np.arange(len(videos), dtype=np.int64))
    index: list[torch.Tensor] = [torch.zeros(0, dtype=torch.long)]
    parts: list[Encoded] = []
    for index_B, clips in source.stream(videos, chunks(mine, run.config.eval.batch_size), None):
        batch = make_batch(videos, index_B, clips, joined).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            encoded = run.method.encode(batch)
        parts.append({name: full_precision(each) for name, each in encoded.items()})
        index.append(torch.from_numpy(index_B))
        if progress:
            progress(sum(map(len, index)), len(mine))
    for said in group.all_gather_object(source.unreadable):
        source.unreadable.update(said)
    unusable = videos.skipped.total() + len(source.unreadable.keys() & set(videos.video_ids))
    check_share(unusable, videos.num_listed, run.config, f"split {videos.split!r}")
    counts = group.all_counts(sum(map(len, index)))
    index_N, rising = group.all_gather(torch.cat(index), counts).sort()
    shapes = group.all_gather_object(
        {name: [str(each.dtype), *each.shape[1:]] for name, each in parts[0].items()}
        if parts
        else None
    )
    whole: Encoded = {}
    for name, (dtype, *shape) in next(each for each in shapes if each).items():
        kind = getattr(torch, dtype.removeprefix("torch."))
        own = [torch.empty(0, *shape, dtype=kind, device=device), *(p[name] for p in parts)]
        whole[name] = group.all_gather(torch.cat(own), counts)[rising.to(device)]
    return EncodedVideos(index_N.numpy(), whole)
