"""What frozen CLIP makes of held-out stickworld videos, and the stills of a clip.

Legend: B videos, K classes, T frames, D embedding, S pixels of an image's side.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from knowledge.clip.model import Clip, encode_frames, encode_texts
from knowledge.embedding.config import PROMPT
from knowledge.stickworld.classes import CLASS_NAMES, CONFUSABLE_PAIRS
from knowledge.stickworld.drawing.render import TIMES, ClipPlan, render_blueprint, render_clip
from knowledge.stickworld.encode import write_video
from knowledge.stickworld.grammar import single_plan
from knowledge.video.frames import read_frames
from knowledge.video.sampling import random_frames, segment_centres

HELD_OUT_SEED = 0
HELD_OUT_SPLIT = "test"
HELD_OUT_PER_CLASS = 24
NUM_FRAMES = 16
"""Segment centres whose embeddings are averaged in the zero-shot measurement."""


def held_out(per_class: int = HELD_OUT_PER_CLASS) -> list[ClipPlan]:
    """Clips of the demo world's test split."""
    numbers = range(per_class)
    return [single_plan(name, HELD_OUT_SPLIT, index) for name in CLASS_NAMES for index in numbers]


def rendered_frames(
    plans: Sequence[ClipPlan],
    seed: int,
    num_frames: int,
    random: bool,
    workers: int = 1,
    blueprint: bool = False,
) -> list[torch.Tensor]:
    """Frames (T, 3, S, S) uint8 of each clip after encoding and decoding.

    Args:
        plans: the clips.
        seed: of the dataset.
        num_frames: T.
        random: a random frame of each of T segments rather than its centre.
        workers: processes; 1 renders in this process.
        blueprint: the same frames of the clips' blueprints, (T, 3, S / 2, S / 2), never encoded.
    """
    one = partial(_frames_of, seed=seed, num_frames=num_frames, random=random, blueprint=blueprint)
    if workers == 1:
        return [torch.from_numpy(one(plan)) for plan in plans]
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        return [torch.from_numpy(frames) for frames in pool.map(one, plans, chunksize=16)]


def _frames_of(
    plan: ClipPlan, seed: int, num_frames: int, random: bool, blueprint: bool
) -> np.ndarray[Any, Any]:
    words = [seed, *plan.video_id.encode()]

    def positions(count: int) -> list[int]:
        if random:
            return random_frames(count, num_frames, np.random.default_rng(words))
        return segment_centres(count, num_frames)

    if blueprint:
        drawn = render_blueprint(plan, seed, positions(len(TIMES)))
        return np.ascontiguousarray(drawn.transpose(0, 3, 1, 2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, render_clip(plan, seed))
        images: np.ndarray[Any, Any] = read_frames(path, positions).images.contiguous().numpy()
    return images


@dataclass(frozen=True)
class ZeroShot:
    """What frozen CLIP says about held-out videos."""

    true_B: torch.Tensor
    """Class index of each video."""
    ranked_BK: torch.Tensor
    """Class indices of each video, the nearest first."""

    def top(self, k: int) -> float:
        """Share of videos whose class is among the k nearest."""
        return float((self.ranked_BK[:, :k] == self.true_B[:, None]).any(dim=1).float().mean())

    def partner_found(self, k: int = 3) -> float:
        """Share of videos of confusable classes with the partner among the k nearest wrong ones."""
        partner = {}
        for pair in CONFUSABLE_PAIRS:
            first, second = CLASS_NAMES.index(pair.first), CLASS_NAMES.index(pair.second)
            partner.update({first: second, second: first})
        hits = [
            partner[true] in [each for each in ranked if each != true][:k]
            for true, ranked in zip(self.true_B.tolist(), self.ranked_BK.tolist(), strict=True)
            if true in partner
        ]
        return sum(hits) / len(hits)

    def confused(self) -> list[tuple[int, str, str, bool]]:
        """(videos, class, class, built to be confused) of every confused pair, most first."""
        built = {frozenset((pair.first, pair.second)) for pair in CONFUSABLE_PAIRS}
        counts: dict[frozenset[str], int] = {}
        for true, found in zip(self.true_B.tolist(), self.ranked_BK[:, 0].tolist(), strict=True):
            if true != found:
                pair = frozenset((CLASS_NAMES[true], CLASS_NAMES[found]))
                counts[pair] = counts.get(pair, 0) + 1
        rows = [(n, min(pair), max(pair), pair in built) for pair, n in counts.items()]
        return sorted(rows, key=lambda row: (-row[0], row[1:]))

    def table(self, num_pairs: int = 12) -> str:
        """The figures for people."""
        lines = [
            f"top-1 {self.top(1):6.1%}   top-5 {self.top(5):6.1%}   videos {len(self.true_B)}",
            f"partner among the 3 nearest wrong classes {self.partner_found():6.1%}",
            "most confused (videos, * built to be confused):",
        ]
        for count, first, second, is_built in self.confused()[:num_pairs]:
            lines.append(f"{count:4d} {'*' if is_built else ' '} {first} / {second}")
        return "\n".join(lines)


def zero_shot(clip: Clip, plans: Sequence[ClipPlan], workers: int = 1) -> ZeroShot:
    """Rank all classes for each video by the cosine of its mean frame embedding with `PROMPT`."""
    prompts = [PROMPT.replace("{label}", name) for name in CLASS_NAMES]
    text_KD, _ = encode_texts(clip, prompts)
    rows = []
    for frames in rendered_frames(plans, HELD_OUT_SEED, NUM_FRAMES, random=False, workers=workers):
        units_TD, _ = encode_frames(clip, frames)
        rows.append(units_TD.mean(dim=0) @ text_KD.T)
    true_B = torch.tensor([CLASS_NAMES.index(plan.labels[0]) for plan in plans])
    return ZeroShot(true_B, torch.stack(rows).argsort(dim=1, descending=True))
