"""Pretrain `stickworld-clip` on stills of stickworld.

`python -m knowledge.pretraining.pretrain OUT_DIRECTORY` writes
OUT_DIRECTORY/stickworld-clip.safetensors; two runs on one machine gave the same bytes.

Data: 3,456 clips (96 per class, seed 20001, ids `pretrain_*`, so none of the demo world's), encoded
and decoded as its videos are, 8 random stills each: 27,648 frames, seen seven times in 3,000 steps
of 64. Stills only, so what motion alone tells apart is out of reach.

A vision transformer of this size learns nothing from captions alone (at chance after 16,800
images), so every patch token also has to paint its patch of the clip's blueprint, a drawing in flat
colours that name body parts; that task is dropped with its linear layer when training is done. And
captions of different classes are kept apart (`text_loss`).

Time on two cores: 200 s of rendering and 1,100 s of training, 22 minutes; beside other work the
training took up to 2,000 s. Result on 864 videos of the single-label test split (seed 0, 24 per
class; mean of 16 frame embeddings, "This is a video about {label}"): top-1 74.9 %, top-5 99.4 %. Of
the videos of a class with a built-in partner, 95.2 % have it among the 3 nearest wrong classes. The
most confused pairs, of 48 videos each, are built to be confused (*), the five that differ in time
alone first:

   28 * catch / throw a ball               8 * high-five / punch a person
   27 * lift / put down a box              7   clap / wave
   23 * close / open a door                7   stand / wave
   19 * fall down / lie on the floor       6 * drink from a cup / talk on the phone
   16 * give / take an object              6   jump / walk

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
from torch.nn.attention import SDPBackend, sdpa_kernel

from knowledge.clip.architecture import MODELS
from knowledge.clip.logit_scale import MAX_LOGIT_SCALE
from knowledge.clip.model import load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.pretraining.captions import Captions, captions
from knowledge.pretraining.stills import (
    CLIPS_PER_CLASS,
    DATA_SEED,
    DATA_SPLIT,
    FRAMES_PER_CLIP,
    WORKERS,
    Stills,
    augment,
    pretraining_stills,
)
from knowledge.pretraining.zero_shot import held_out, zero_shot
from knowledge.stickworld.classes import CLASS_NAMES
from knowledge.stickworld.drawing.render import RENDERER_VERSION

NAME = "stickworld-clip"

MODEL_SEED = 0
NUM_STEPS = 3000
BATCH = 64
TEXT_STEPS = 200
"""Steps that train the text tower alone, first of all: two towers that start together from noise
collapse into a point."""
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
BLUEPRINT_WEIGHT = 3.0
"""Of the auxiliary loss: every patch token has to paint its patch of the blueprint."""
BLUEPRINT_PATCH = 7
"""Side of a patch there, half of the image's."""
NUM_THREADS = 2
"""Threads of training; another number rounds differently."""


def main(directory: Path) -> None:
    """Render, train, save and measure."""
    torch.set_num_threads(NUM_THREADS)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    open_clip.add_model_config(MODELS)
    started = time.perf_counter()
    stills = pretraining_stills()
    clips = CLIPS_PER_CLASS * len(CLASS_NAMES)
    _say(started, f"{len(stills.class_of_N)} frames of {clips} clips")
    texts = tokenise(captions(CLASS_NAMES))
    torch.manual_seed(MODEL_SEED)
    model = build(len(texts.used_V))
    _say(started, f"texts alone, {TEXT_STEPS} steps, loss {train_texts(model, texts):.3f}")
    for step, loss in train(model, stills, texts):
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


def train(model: Any, stills: Stills, texts: TokenisedCaptions) -> Iterator[tuple[int, float]]:
    """Train in place; yields the step, from 1, and its loss."""
    generator = torch.Generator().manual_seed(MODEL_SEED)
    painter = nn.Linear(model.visual.transformer.width, 3 * BLUEPRINT_PATCH**2)
    groups = [*_groups(model), {"params": painter.parameters(), "weight_decay": 0.0, "start": 0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98), fused=True)
    factors: list[Callable[[int], float]] = [
        partial(_factor, start=group["start"]) for group in optimizer.param_groups
    ]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
    order = torch.empty(0, dtype=torch.long)
    model.visual.output_tokens = True
    model.train()
    for step in range(1, NUM_STEPS + 1):
        if len(order) < BATCH:
            order = torch.randperm(len(stills.class_of_N), generator=generator)
        chosen, order = order[:BATCH], order[BATCH:]
        images, blueprints = augment(
            stills.images_N3SS[chosen], stills.blueprints_N3RR[chosen], generator
        )
        # The fused attention of CPUs takes four times as long backward.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            image_ND, tokens_NPD = model.visual(images)
            text_KD, other_KD = (
                encode_cut_text(model, draw_captions(texts, step, generator)) for _ in range(2)
            )
            drawn_NPC = painter(tokens_NPD)
        scale = model.logit_scale.exp()
        loss = contrastive_loss(scale, image_ND, text_KD, stills.class_of_N[chosen])
        loss = loss + text_loss(scale, text_KD.float(), other_KD.float())
        loss = loss + BLUEPRINT_WEIGHT * F.mse_loss(drawn_NPC.float(), patches(blueprints))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        yield step, float(loss.detach())
    model.visual.output_tokens = False
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
        loss = text_loss(model.logit_scale.exp(), first_KD, second_KD)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(loss.detach())


def text_loss(scale: torch.Tensor, first_KD: torch.Tensor, second_KD: torch.Tensor) -> torch.Tensor:
    """Two captions of a class find each other among those of all classes.

    Without it the texts of two classes that stills cannot tell apart fall together (cosine above
    0.9999), and no model that starts from them can separate the two again.
    """
    logits_KK = scale * first_KD @ second_KD.T
    classes_K = torch.arange(len(logits_KK))
    return (F.cross_entropy(logits_KK, classes_K) + F.cross_entropy(logits_KK.T, classes_K)) / 2


def contrastive_loss(
    scale: torch.Tensor,
    image_ND: torch.Tensor,
    text_KD: torch.Tensor,
    class_of_N: torch.Tensor,
) -> torch.Tensor:
    """CLIP's symmetric loss; all images of a class are positives of its caption.

    Args:
        scale: factor on cosines.
        image_ND: image features, of any length.
        text_KD: unit text embeddings, that of class k in row k.
        class_of_N: class index of each image.
    """
    logits_NK = scale * F.normalize(image_ND.float(), dim=-1) @ text_KD.float().T
    positive_KN = F.one_hot(class_of_N, len(text_KD)).T.float()
    count_K = positive_KN.sum(dim=1)
    to_text = F.cross_entropy(logits_NK, class_of_N)
    to_image = F.cross_entropy(
        logits_NK.T[count_K > 0], (positive_KN / count_K.clamp(min=1)[:, None])[count_K > 0]
    )
    return (to_text + to_image) / 2


def patches(blueprints_N3RR: torch.Tensor) -> torch.Tensor:
    """Blueprints cut as the image tower cuts its images: (N, P, 3 * BLUEPRINT_PATCH ** 2)."""
    columns = F.unfold(blueprints_N3RR, BLUEPRINT_PATCH, stride=BLUEPRINT_PATCH)
    return columns.transpose(1, 2)


def encode_cut_text(model: Any, ids_KL: torch.Tensor) -> torch.Tensor:
    """`encode_text(normalize=True)` for tokens cut to the longest text: attention is causal."""
    length = ids_KL.shape[1]
    x = model.token_embedding(ids_KL) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    pooled = x[torch.arange(len(x)), ids_KL.argmax(dim=1)]
    return F.normalize(pooled @ model.text_projection, dim=-1)


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
        sys.exit("usage: python -m knowledge.pretraining.pretrain OUT_DIRECTORY")
    main(Path(sys.argv[1]))
