"""Time and memory of the MGDM loss, forward and backward: ours against the equations to the letter.

Run from the repository root: `python tests/benchmarks/mgdm_loss.py [b k T D]`.

Measured with one thread on a 2-core machine (AVX512, no GPU, otherwise idle), k=7, T=16, D=768,
medians: b=32 ours 11 ms, +32 MiB peak; literal 582 ms, +408 MiB: 53 times faster. b=256 ours
0.53 s, +541 MiB; one tensor of the literal form would take 25.8 GB, so it is left out. Of the two
cheap forms `videos` takes 12 ms and `frames` 15 ms at b=32, and both the same at b=256.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[2]))

from training.layers.losses import soft_contrastive
from training.models.mgdm.model import guided_cosines

SCALE, TEMPERATURE = 100.0, 0.01
LARGEST = 2 << 30
"""Bytes of a tensor of the literal form, of which it holds several."""


def ours(frames_BTD, texts_BRD, class_ids_BR, form=None):
    """One row per video; V per pair of video and guide, or not at all."""
    cosines = guided_cosines(
        frames_BTD,
        texts_BRD[:, 0],
        F.normalize(texts_BRD, dim=-1),
        normalize=True,
        temperature=TEMPERATURE,
        renorm=False,
        form=form,
    )
    positives = class_ids_BR[None] == class_ids_BR[:, :1, None]
    return both_ways(SCALE * cosines.flatten(1), positives.flatten(1))


def literal(frames_BTD, texts_BRD, class_ids_BR):
    """1 + k rows per video, V of every row and column (eq. 4-9, 15, 16)."""
    repeats = texts_BRD.shape[1]
    f = F.normalize(frames_BTD, dim=-1).repeat_interleave(repeats, dim=0)
    guides = F.normalize(texts_BRD[:, 0], dim=-1).repeat_interleave(repeats, dim=0)
    att = torch.softmax(torch.einsum("btd,cd->bct", f, guides) / TEMPERATURE, dim=-1)
    videos = torch.einsum("btd,bct->bcd", f, att)
    texts = F.normalize(texts_BRD, dim=-1).flatten(0, 1)
    sims = SCALE * torch.einsum("bcd,cd->bc", videos, texts)
    own = class_ids_BR[:, 0].repeat_interleave(repeats)
    return both_ways(sims, own[:, None] == class_ids_BR.flatten()[None])


def both_ways(sims, positives):
    return (soft_contrastive(sims, positives) + soft_contrastive(sims.T, positives.T)) / 2


def measure(loss: Callable[[], torch.Tensor], parameters: list[torch.Tensor], rounds: int) -> float:
    """Median seconds of forward and backward."""
    times = []
    for _ in range(rounds):
        for parameter in parameters:
            parameter.grad = None
        start = time.perf_counter()
        loss().backward()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    b, k, T, D = (int(each) for each in sys.argv[1:] or ("32", "7", "16", "512"))
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(b, T, D, generator=generator).requires_grad_()
    texts = torch.randn(b, 1 + k, D, generator=generator).requires_grad_()
    class_ids = torch.randint(400, (b, 1 + k), generator=generator)
    forms = {
        "ours": lambda: ours(frames, texts, class_ids),
        "ours, form `videos`": lambda: ours(frames, texts, class_ids, "videos"),
        "ours, form `frames`": lambda: ours(frames, texts, class_ids, "frames"),
        "literal": lambda: literal(frames, texts, class_ids),
    }
    literal_bytes = 4 * b * b * (1 + k) * T * D
    print(f"b={b} k={k} T={T} D={D}, forward and backward, one thread")
    if literal_bytes > LARGEST:
        print(f"literal is left out: one of its tensors takes {literal_bytes / 1e9:.1f} GB")
        del forms["literal"]
    seconds, losses = {}, {}
    for name, form in forms.items():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        losses[name] = form().item()
        seconds[name] = measure(form, [frames, texts], 12 if name != "literal" else 4)
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(
            f"{name:22} {1e3 * seconds[name]:9.1f} ms   +{peak:6.0f} MiB peak   "
            f"loss {losses[name]:.6f}"
        )
    if "literal" in seconds:
        print(f"literal / ours: {seconds['literal'] / seconds['ours']:.0f}")


if __name__ == "__main__":
    main()
