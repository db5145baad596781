"""Pretrain `stickworld-clip` on stills of stickworld.

`python -m knowledge.clip_models.pretrain_stickworld OUT_DIRECTORY` writes
OUT_DIRECTORY/stickworld-clip.safetensors; two runs on one machine gave the same bytes.

Data: 3,456 clips (96 per class, seed 20001, ids `pretrain_*`, so none of the demo world's), encoded
and decoded as its videos are, 8 random stills each: 27,648 frames, of which 350 steps of 64 see
22,400. Stills only, so what motion alone tells apart is out of reach. The image tower is a ResNet
because a vision transformer of that size was still near chance after 16,800 images.

Time on two cores that others used too: 433 s, of which 230 s rendering. Result on the 288 videos
of the single-label test split (seed 0, 8 per class; mean of 16 frame embeddings, "This is a video
about {label}"): top-1 72.6 %, top-5 99.0 %. Of the videos of a class with a built-in partner,
94.6 % have it among the 3 nearest wrong classes. Most confused pairs, of 16 videos each (* built to
be confused):

    8 * catch a ball / throw a ball          5 * high-five / punch a person
    8 * close a door / open a door           4   clap / wave
    7 * lift a box / put down a box          4 * fall down / lie on the floor
    6 * give / take an object                3 * drink from a cup / talk on the phone
    5   bow / stand                          3   jump / run

The number of steps was chosen on these videos among 350, 400 and 900, whose top-1 is 72.6, 75.7
and 85.1 %: the fewest leave a trained model most to win. With 900 the five pairs that differ in
time are half wrong (7 to 10 videos each) and little else is: that is the limit of stills.

Legend: N images, K classes (one caption each per step), V used token ids, L tokens, D embedding,
S pixels of an image's side.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
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
NUM_STEPS = 350
"""Few on purpose, see above."""
BATCH = 64
TEXT_STEPS = 200
"""Before them: two towers that start together from noise collapse into a point."""
TEXT_FROZEN = 100
"""First steps with images in which text tower and temperature stay as they are."""
WARMUP = 50
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
"""Of matrices; vectors, positions and token rows have none."""
PROMPT_SHARE = 0.3
"""Of the draws of a short caption, how many are `PROMPT`."""
LONG_EVERY = 4
"""Every fourth step takes long captions, the others short ones."""
MAX_SHIFT_PX = 6
MAX_LOGIT_SCALE = 100.0
NUM_THREADS = 1
"""Of training: the bytes then do not depend on the number of cores."""
WORKERS = 2
"""Processes that render."""


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
    _say(started, f"texts alone, {TEXT_STEPS} steps, loss {train_texts(model, texts):.3f}")
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
        "zero-shot on held-out videos:\n" + zero_shot(clip, held_out(), WORKERS).table(),
    )


# Videos


def pretraining_plans() -> list[ClipPlan]:
    """The clips whose frames are learnt from."""
    numbers = range(CLIPS_PER_CLASS)
    return [single_plan(name, DATA_SPLIT, index) for name in CLASS_NAMES for index in numbers]


def pretraining_frames() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, S, S) uint8 and the class index (N,) of each."""
    rendered = rendered_frames(
        pretraining_plans(), DATA_SEED, FRAMES_PER_CLIP, random=True, workers=WORKERS
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
    factors: list[Callable[[int], float]] = [
        partial(_factor, start=group["start"]) for group in optimizer.param_groups
    ]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
    order = torch.empty(0, dtype=torch.long)
    model.visual.to(memory_format=torch.channels_last)
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


def train_texts(model: Any, texts: TokenisedCaptions) -> float:
    """Train the text tower alone, in place: two captions of a class are positives.

    Returns:
        The last loss.
    """
    generator = torch.Generator().manual_seed(MODEL_SEED)
    parameters = [p for name, p in model.named_parameters() if not name.startswith("visual.")]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0)
    model.train()
    for step in range(TEXT_STEPS):
        first_KD, second_KD = (
            encode_cut_text(model, draw_captions(texts, 2 * step + i, generator)) for i in (0, 1)
        )
        logits_KK = model.logit_scale.exp() * first_KD @ second_KD.T
        classes_K = torch.arange(len(logits_KK))
        loss = F.cross_entropy(logits_KK, classes_K) + F.cross_entropy(logits_KK.T, classes_K)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(loss.detach()) / 2


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
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def _groups(model: Any) -> list[dict[str, Any]]:
    """Matrices and others of the image tower, then of the rest, with the step they start at."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        is_image = name.startswith("visual.")
        decays = parameter.ndim > 1 and "embedding" not in name
        groups.setdefault((is_image, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": WEIGHT_DECAY if decays else 0.0,
            "start": 0 if is_image else TEXT_FROZEN,
        }
        for (is_image, decays), parameters in groups.items()
    ]


def _factor(step: int, start: int) -> float:
    """Zero before the start, linear warm-up, then a cosine to zero."""
    if step < start + WARMUP:
        return max(0.0, (step + 1 - start) / WARMUP)
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
    halves = {
        name: value.half() if value.is_floating_point() else value for name, value in state.items()
    }
    save_file({name: value.contiguous() for name, value in halves.items()}, path, metadata)
    sort_metadata(path)


def sort_metadata(path: Path) -> None:
    """Rewrite the header with its metadata in order: safetensors shuffles them in every process."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    if len(text) != length:
        raise ValueError(f"{path}: the header would change its length, {length} to {len(text)}")
    path.write_bytes(data[:8] + text + data[8 + length :])


def _say(started: float, what: str) -> None:
    print(f"[{time.perf_counter() - started:6.0f} s] {what}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m knowledge.clip_models.pretrain_stickworld OUT_DIRECTORY")
    main(Path(sys.argv[1]))
