"""Pretrain `stickworld-clip` on stills of stickworld.

Run `OMP_WAIT_POLICY=PASSIVE python -m knowledge.clip_models.pretrain_stickworld OUT_DIRECTORY`; it
writes OUT_DIRECTORY/stickworld-clip.safetensors.

FIGURES

Legend: N images, K classes (one caption each per step), V used token ids, L tokens, B videos,
T frames, D embedding, S side of an image in pixels.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from knowledge.clip import MODELS, Clip, ClipSpec, encode_frames, encode_texts, load_clip
from knowledge.clip_models.stickworld_captions import Captions, captions
from knowledge.datasets.stickworld.classes import CLASS_NAMES, CONFUSABLE_PAIRS
from knowledge.datasets.stickworld.encode import write_video
from knowledge.datasets.stickworld.grammar import single_plan
from knowledge.datasets.stickworld.render import RENDERER_VERSION, ClipPlan, render_clip
from knowledge.embedding import PROMPT
from knowledge.video import read_frames, segment_centres, segment_random

NAME = "stickworld-clip"

DATA_SEED = 20_001
"""Of the rendered clips; the demo world has seed 0."""
DATA_SPLIT = "pretrain"
"""Part of every video id. Draws depend on (seed, video_id), so no seed of another split repeats them."""
CLIPS_PER_CLASS = 96
FRAMES_PER_CLIP = 8
"""One random frame of each of that many segments."""

HELD_OUT_SEED = 0
HELD_OUT_SPLIT = "test"
HELD_OUT_PER_CLASS = 8
NUM_FRAMES = 16
"""Segment centres whose embeddings are averaged in the zero-shot measurement."""

MODEL_SEED = 0
NUM_STEPS = 1800
BATCH = 96
WARMUP = 100
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
"""Of matrices; vectors, positions and token rows have none."""
PROMPT_SHARE = 0.3
"""Of the draws of a short caption, how many are `PROMPT`."""
LONG_EVERY = 3
"""Every third step takes long captions, the others short ones."""
MAX_SHIFT_PX = 6
MAX_LOGIT_SCALE = 100.0
NUM_THREADS = 2


def main(directory: Path) -> None:
    """Render, train, save and measure."""
    torch.set_num_threads(NUM_THREADS)
    torch.use_deterministic_algorithms(True)
    started = time.perf_counter()
    images_NS, class_of_N = pretraining_frames()
    _say(started, f"{len(images_NS)} frames of {CLIPS_PER_CLASS * len(CLASS_NAMES)} clips")
    texts = tokenise(captions(CLASS_NAMES))
    torch.manual_seed(MODEL_SEED)
    model = build(len(texts.used_V))
    for step, loss in train(model, images_NS, class_of_N, texts):
        if step % 50 == 0 or step == NUM_STEPS:
            _say(started, f"step {step}/{NUM_STEPS}, loss {loss:.3f}")
    path = directory / f"{NAME}.safetensors"
    directory.mkdir(parents=True, exist_ok=True)
    save(model, texts.used_V, path)
    _say(started, f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    clip = load_clip(ClipSpec(arch=NAME, weights=str(path)))
    _say(started, "zero-shot on held-out videos:\n" + zero_shot(clip, held_out()).table())


# Videos


def pretraining_plans() -> list[ClipPlan]:
    """The clips whose frames are learnt from."""
    numbers = range(CLIPS_PER_CLASS)
    return [single_plan(name, DATA_SPLIT, index) for name in CLASS_NAMES for index in numbers]


def held_out(per_class: int = HELD_OUT_PER_CLASS) -> list[ClipPlan]:
    """Clips of the demo world's test split."""
    numbers = range(per_class)
    return [single_plan(name, HELD_OUT_SPLIT, index) for name in CLASS_NAMES for index in numbers]


def pretraining_frames() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, S, S) uint8 and the class index (N,) of each."""
    rendered = rendered_frames(pretraining_plans(), DATA_SEED, FRAMES_PER_CLIP, random=True)
    clips = CLIPS_PER_CLASS * len(CLASS_NAMES)
    classes = torch.arange(len(CLASS_NAMES)).repeat_interleave(
        len(rendered[0]) * clips // len(CLASS_NAMES)
    )
    return torch.cat(rendered), classes


def rendered_frames(
    plans: Sequence[ClipPlan], seed: int, num_frames: int, random: bool, workers: int = NUM_THREADS
) -> list[torch.Tensor]:
    """Frames (T, 3, S, S) uint8 of each clip after encoding and decoding.

    Args:
        plans: the clips.
        seed: of the dataset.
        num_frames: T.
        random: a random frame of each of T segments rather than its centre.
        workers: processes; 1 renders in this process.
    """
    one = partial(_frames_of, seed=seed, num_frames=num_frames, random=random)
    if workers == 1:
        return [torch.from_numpy(one(plan)) for plan in plans]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return [torch.from_numpy(frames) for frames in pool.map(one, plans, chunksize=16)]


def _frames_of(plan: ClipPlan, seed: int, num_frames: int, random: bool) -> np.ndarray[Any, Any]:
    torch.set_num_threads(1)
    words = [seed, *plan.video_id.encode()]

    def positions(count: int) -> list[int]:
        if random:
            return segment_random(count, num_frames, np.random.default_rng(words))
        return segment_centres(count, num_frames)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, render_clip(plan, seed))
        images: np.ndarray[Any, Any] = read_frames(path, positions).images.contiguous().numpy()
    return images


# Texts


@dataclass(frozen=True)
class TokenisedCaptions:
    """Captions as indices into the token ids that occur in them.

    The indices keep the order of the ids, so the end token is still the largest one.
    """

    used_V: torch.Tensor
    short: list[torch.Tensor]
    """Per class (captions, 77), the first being `PROMPT`."""
    long: list[torch.Tensor]


def tokenise(texts: list[Captions]) -> TokenisedCaptions:
    """Tokenise the captions of all classes; id 0, which fills up, keeps index 0."""
    tokenizer = open_clip.get_tokenizer(NAME)
    short = [tokenizer(list(each.short)) for each in texts]
    long = [tokenizer(list(each.long)) for each in texts]
    used_V = torch.unique(torch.cat([*short, *long]))
    return TokenisedCaptions(
        used_V,
        [torch.searchsorted(used_V, ids) for ids in short],
        [torch.searchsorted(used_V, ids) for ids in long],
    )


def draw_captions(texts: TokenisedCaptions, step: int, generator: torch.Generator) -> torch.Tensor:
    """One caption per class, (K, L), cut to the longest."""
    is_long = step % LONG_EVERY == 0
    drawn = []
    for ids in texts.long if is_long else texts.short:
        row = int(torch.randint(len(ids), (), generator=generator))
        prompt = float(torch.rand((), generator=generator)) < PROMPT_SHARE
        drawn.append(ids[0 if prompt and not is_long else row])
    ids_KL = torch.stack(drawn)
    return ids_KL[:, : int(ids_KL.argmax(dim=1).max()) + 1]


# Training


def build(num_tokens: int) -> Any:
    """An untrained model whose token table has only the rows that captions use."""
    open_clip.add_model_config(MODELS)
    config = open_clip.get_model_config(NAME)
    config["text_cfg"]["vocab_size"] = num_tokens
    return open_clip.model.CLIP(
        embed_dim=config["embed_dim"],
        vision_cfg=config["vision_cfg"],
        text_cfg=config["text_cfg"],
        quick_gelu=config["quick_gelu"],
    )


def train(
    model: Any, images_NS: torch.Tensor, class_of_N: torch.Tensor, texts: TokenisedCaptions
) -> Iterator[tuple[int, float]]:
    """Train in place; yields the step, from 1, and its loss."""
    generator = torch.Generator().manual_seed(MODEL_SEED)
    optimizer = torch.optim.AdamW(_groups(model), lr=LEARNING_RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _factor)
    order = torch.empty(0, dtype=torch.long)
    model.train()
    for step in range(1, NUM_STEPS + 1):
        if len(order) < BATCH:
            order = torch.randperm(len(images_NS), generator=generator)
        chosen, order = order[:BATCH], order[BATCH:]
        images = augment(images_NS[chosen], generator)
        loss = contrastive_loss(
            model, images, class_of_N[chosen], draw_captions(texts, step, generator)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(MAX_LOGIT_SCALE)))
        yield step, float(loss)
    model.eval()


def contrastive_loss(
    model: Any, images: torch.Tensor, class_of_N: torch.Tensor, ids_KL: torch.Tensor
) -> torch.Tensor:
    """CLIP's symmetric loss; all images of a class are positives of its caption.

    Args:
        model: the CLIP model.
        images: (N, 3, S, S) normalised pixels.
        class_of_N: class index of each image.
        ids_KL: the caption of class k in row k.
    """
    with torch.autocast("cpu", torch.bfloat16):
        image_ND = model.encode_image(images, normalize=True)
        text_KD = encode_cut_text(model, ids_KL)
    logits_NK = model.logit_scale.exp() * image_ND.float() @ text_KD.float().T
    positive_KN = F.one_hot(class_of_N, len(ids_KL)).T.float()
    count_K = positive_KN.sum(dim=1)
    to_text = F.cross_entropy(logits_NK, class_of_N)
    to_image = F.cross_entropy(
        logits_NK.T[count_K > 0], (positive_KN / count_K.clamp(min=1)[:, None])[count_K > 0]
    )
    return (to_text + to_image) / 2


def encode_cut_text(model: Any, ids_KL: torch.Tensor) -> torch.Tensor:
    """`encode_text(normalize=True)` for tokens cut to the longest text: attention is causal."""
    length = ids_KL.shape[1]
    x = model.token_embedding(ids_KL) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    pooled = x[torch.arange(len(x)), ids_KL.argmax(dim=1)]
    return F.normalize(pooled @ model.text_projection, dim=-1)


def augment(images_NS: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror, shift and change brightness and contrast; none of it changes an action.

    Args:
        images_NS: (N, 3, S, S) uint8.
        generator: source of the draws.

    Returns:
        (N, 3, S, S) float32, normalised as CLIP normalises.
    """
    count, _, side, _ = images_NS.shape
    padded = F.pad(images_NS.float(), (MAX_SHIFT_PX,) * 4, mode="replicate")
    shift_N2 = torch.randint(2 * MAX_SHIFT_PX + 1, (count, 2), generator=generator).tolist()
    images = torch.stack(
        [
            image[:, y : y + side, x : x + side]
            for image, (x, y) in zip(padded, shift_N2, strict=True)
        ]
    )
    mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    images = torch.where(mirrored, images.flip(-1), images)
    contrast = 0.85 + 0.3 * torch.rand(count, 1, 1, 1, generator=generator)
    brightness = 40 * torch.rand(count, 1, 1, 1, generator=generator) - 20
    images = ((images - 128) * contrast + 128 + brightness).clamp(0, 255) / 255
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    return (images - mean) / std


def _groups(model: Any) -> list[dict[str, Any]]:
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        plain = parameter.ndim < 2 or "embedding" in name
        (others if plain else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]


def _factor(step: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return float(0.5 * (1 + np.cos(np.pi * (step - WARMUP) / (NUM_STEPS - WARMUP))))


# The file


def save(model: Any, used_V: torch.Tensor, path: Path) -> None:
    """Write fp16 weights with the whole token table; rows of unused tokens are zero."""
    state = {name: value.detach() for name, value in model.state_dict().items()}
    vocabulary = open_clip.get_model_config(NAME)["text_cfg"]["vocab_size"]
    table = torch.zeros(vocabulary, state["token_embedding.weight"].shape[1])
    table[used_V] = state["token_embedding.weight"]
    state["token_embedding.weight"] = table
    metadata = {
        "quick_gelu": str(bool(open_clip.get_model_config(NAME)["quick_gelu"])).lower(),
        "data": f"stickworld {DATA_SPLIT} split, renderer {RENDERER_VERSION}",
        "data_seed": str(DATA_SEED),
        "model_seed": str(MODEL_SEED),
        "clips": str(CLIPS_PER_CLASS * len(CLASS_NAMES)),
        "frames": str(CLIPS_PER_CLASS * len(CLASS_NAMES) * FRAMES_PER_CLIP),
        "steps": str(NUM_STEPS),
        "batch": str(BATCH),
        "token_rows": str(len(used_V)),
    }
    save_file({name: value.half().contiguous() for name, value in state.items()}, path, metadata)


# Zero-shot


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
        rows = [(count, *sorted(pair), pair in built) for pair, count in counts.items()]
        return sorted(
            ((count, first, second, is_built) for count, first, second, is_built in rows),
            key=lambda row: (-row[0], row[1:]),
        )

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


def zero_shot(clip: Clip, plans: Sequence[ClipPlan], workers: int = NUM_THREADS) -> ZeroShot:
    """Rank all classes for each video by the cosine of its mean frame embedding with `PROMPT`."""
    prompts = [PROMPT.replace("{label}", name) for name in CLASS_NAMES]
    text_KD, _ = encode_texts(clip, prompts)
    rows = []
    for frames in rendered_frames(plans, HELD_OUT_SEED, NUM_FRAMES, random=False, workers=workers):
        units_TD, _ = encode_frames(clip, frames)
        rows.append(units_TD.mean(dim=0) @ text_KD.T)
    true_B = torch.tensor([CLASS_NAMES.index(plan.labels[0]) for plan in plans])
    return ZeroShot(true_B, torch.stack(rows).argsort(dim=1, descending=True))


def _say(started: float, what: str) -> None:
    print(f"[{time.perf_counter() - started:6.0f} s] {what}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m knowledge.clip_models.pretrain_stickworld OUT_DIRECTORY")
    main(Path(sys.argv[1]))
