"""Texts of a corpus to embeddings: ours against open_clip's padded float32, in one run.

Run from the repository root: `python tests/benchmarks/text_encoding.py [arch texts]`.

The texts are the class names that come with the package, plain and as sentences, repeated; the
naive way encodes 64 at a time as `encode_texts` does. The limit is the time of the linear layers
alone on as many tokens, none of them padding, in one precision with ours. Weights are random.

Measured on two otherwise idle cores (AMX, no GPU) whose speed varies, ViT-B/32, four runs of 8,192
and 16,384 texts of 12.1 tokens: 480 to 770 texts a second, 26 to 32 times the naive way, 48 to 59 %
of the limit; a sixth of the time goes to attention. The first products of each new length take a
tenth of a second longer.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from knowledge.clip.model import encode_texts, load_clip
from knowledge.clip.tokens import clip_tokens
from knowledge.clip.weights import ClipSpec
from knowledge.datasets.class_lists import CLASS_LISTS, class_list
from knowledge.embedding.config import resolve_precision
from knowledge.embedding.engine.text_encoder import TOKENS_PER_BATCH, TextEncoder
from tests.clip_weights import save_random_clip

NAIVE = 256
"""Texts that are encoded the naive way, too."""
PASSES = 40


def corpus(count: int) -> list[str]:
    """Class names of all lists, each also as a sentence, in the order of a shuffle."""
    names = [name for each in CLASS_LISTS for name in class_list(each)["name"]]
    texts = [*names, *(f"A video of a person who is {name}, seen from the side." for name in names)]
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[i] for i in np.resize(order, count)]


def products(encoder: TextEncoder, num_tokens: int) -> float:
    """Seconds of the linear layers alone on so many tokens."""
    rows = TOKENS_PER_BATCH
    positions = encoder.positions
    width = positions.shape[1]
    narrow, wide = (torch.randn(rows, n).to(positions.dtype) for n in (width, 4 * width))

    def run() -> None:
        for block in encoder.blocks:
            for layer in (block.qkv, block.out, block.fc):
                layer(narrow)
            block.proj(wide)

    with torch.inference_mode():
        run()
        started = time.perf_counter()
        for _ in range(PASSES):
            run()
        return (time.perf_counter() - started) / PASSES * num_tokens / rows


def main() -> None:
    """Print the table."""
    arch, *numbers = sys.argv[1:] or ["ViT-B-32-quickgelu"]
    texts = corpus(int(numbers[0]) if numbers else 8192)
    with tempfile.TemporaryDirectory() as directory:
        weights = save_random_clip(Path(directory) / "clip.safetensors", arch)
        spec = ClipSpec(arch=arch, weights=str(weights))
        clip = load_clip(spec)
    precision = resolve_precision("auto", spec, "cpu")
    encoder = TextEncoder(clip, precision)
    encoder(texts[:NAIVE])
    encode_texts(clip, texts[:64])
    started = time.perf_counter()
    ours, _ = encoder(texts)
    rate = len(texts) / (time.perf_counter() - started)
    started = time.perf_counter()
    theirs, _ = encode_texts(clip, texts[:NAIVE])
    naive = NAIVE / (time.perf_counter() - started)
    limit = len(texts) / products(encoder, sum(map(clip_tokens, texts)))
    least = float((ours[:NAIVE] * theirs.numpy()).sum(axis=1).min())
    tokens = sum(map(clip_tokens, texts)) / len(texts)
    print(f"{arch} {precision}, {len(texts)} texts of {tokens:.1f} tokens")
    print(f"limit {limit:8.0f} texts/s")
    print(f"ours  {rate:8.0f} texts/s, {rate / limit:.0%} of the limit; least cosine {least:.5f}")
    print(f"naive {naive:8.0f} texts/s; ours is {rate / naive:.1f} times as fast")


if __name__ == "__main__":
    main()
