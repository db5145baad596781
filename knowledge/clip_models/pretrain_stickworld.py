"""Pretrain `stickworld-clip` on stills of stickworld.

Run `OMP_WAIT_POLICY=PASSIVE python -m knowledge.clip_models.pretrain_stickworld OUT_DIRECTORY`; it
writes OUT_DIRECTORY/stickworld-clip.safetensors.

FIGURES

Legend: N images, K classes (one caption each per step), V used token ids, L tokens, D embedding,
S pixels of an image's side.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from knowledge.clip import MODELS, ClipSpec, load_clip
from knowledge.clip_models.stickworld_captions import Captions, captions
from knowledge.clip_models.stickworld_zero_shot import held_out, rendered_frames, zero_shot
from knowledge.datasets.stickworld.classes import CLASS_NAMES
from knowledge.datasets.stickworld.grammar import single_plan
from knowledge.datasets.stickworld.render import RENDERER_VERSION, ClipPlan

NAME = "stickworld-clip"

DATA_SEED = 20_001
"""Of the rendered clips; the demo world has seed 0."""
DATA_SPLIT = "pretrain"
"""Part of every video id; draws depend on (seed, video_id), so no other split repeats one."""
CLIPS_PER_CLASS = 96
FRAMES_PER_CLIP = 8
"""One random frame of each of that many segments."""

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
    open_clip.add_model_config(MODELS)
    started = time.perf_counter()
    images_N3SS, class_of_N = pretraining_frames()
    _say(started, f"{len(images_N3SS)} frames of {CLIPS_PER_CLASS * len(CLASS_NAMES)} clips")
    texts = tokenise(captions(CLASS_NAMES))
    torch.manual_seed(MODEL_SEED)
    model = build(len(texts.used_V))
    for step, loss in train(model, images_N3SS, class_of_N, texts):
        if step % 50 == 0 or step == NUM_STEPS:
            _say(started, f"step {step}/{NUM_STEPS}, loss {loss:.3f}")
    path = directory / f"{NAME}.safetensors"
    directory.mkdir(parents=True, exist_ok=True)
    save(model, texts.used_V, path)
    _say(started, f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    clip = load_clip(ClipSpec(arch=NAME, weights=str(path)))
    _say(
        started,
        "zero-shot on held-out videos:\n" + zero_shot(clip, held_out(), NUM_THREADS).table(),
    )


# Videos


def pretraining_plans() -> list[ClipPlan]:
    """The clips whose frames are learnt from."""
    numbers = range(CLIPS_PER_CLASS)
    return [single_plan(name, DATA_SPLIT, index) for name in CLASS_NAMES for index in numbers]


def pretraining_frames() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, S, S) uint8 and the class index (N,) of each."""
    rendered = rendered_frames(
        pretraining_plans(), DATA_SEED, FRAMES_PER_CLIP, random=True, workers=NUM_THREADS
    )
    clips = CLIPS_PER_CLASS * len(CLASS_NAMES)
    classes = torch.arange(len(CLASS_NAMES)).repeat_interleave(
        len(rendered[0]) * clips // len(CLASS_NAMES)
    )
    return torch.cat(rendered), classes


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
    config = open_clip.get_model_config(NAME)
    config["text_cfg"]["vocab_size"] = num_tokens
    return open_clip.model.CLIP(
        embed_dim=config["embed_dim"],
        vision_cfg=config["vision_cfg"],
        text_cfg=config["text_cfg"],
        quick_gelu=config["quick_gelu"],
    )


def train(
    model: Any, images_N3SS: torch.Tensor, class_of_N: torch.Tensor, texts: TokenisedCaptions
) -> Iterator[tuple[int, float]]:
    """Train in place; yields the step, from 1, and its loss."""
    generator = torch.Generator().manual_seed(MODEL_SEED)
    optimizer = torch.optim.AdamW(_groups(model), lr=LEARNING_RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _factor)
    order = torch.empty(0, dtype=torch.long)
    model.train()
    for step in range(1, NUM_STEPS + 1):
        if len(order) < BATCH:
            order = torch.randperm(len(images_N3SS), generator=generator)
        chosen, order = order[:BATCH], order[BATCH:]
        images = augment(images_N3SS[chosen], generator)
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
        yield step, float(loss.detach())
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


def augment(images_N3SS: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror, shift and change brightness and contrast; none of it changes an action.

    Args:
        images_N3SS: (N, 3, S, S) uint8.
        generator: source of the draws.

    Returns:
        (N, 3, S, S) float32, normalised as CLIP normalises.
    """
    count, _, side, _ = images_N3SS.shape
    padded = F.pad(images_N3SS.float(), (MAX_SHIFT_PX,) * 4, mode="replicate")
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
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
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


def _say(started: float, what: str) -> None:
    print(f"[{time.perf_counter() - started:6.0f} s] {what}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m knowledge.clip_models.pretrain_stickworld OUT_DIRECTORY")
    main(Path(sys.argv[1]))
