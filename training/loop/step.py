"""The gradient of one global batch, whatever parts and processes it was encoded in.

1. Every process encodes its clips part by part, only the first part with a graph.
2. All parts of all processes are gathered; the loss of the whole batch gives the gradient of every
   encoded sample (and of the parameters in the loss itself).
3. Every part's gradient is sent back to where it was encoded, the later parts being encoded again
   with the same random draws.
4. The parameters' gradients are summed over the processes.

With one process and one part this is forward, loss, backward. In another form this is known as
gradient caching (GradCache).

Legend: B clips.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from training.data.batch import Batch
from training.distributed.group import Group
from training.layers.losses import full_precision
from training.models.method import Encoded, TrainedMethod

Encode = Callable[[Batch], Encoded]
_LOSS = 2**31
"""Place of the loss's random draws, behind those of any clip."""


@dataclass(frozen=True)
class StepSeed:
    """What random decisions inside a model (dropout) depend on.

    It is the step, and the clip of the batch that a part starts with. So a resumed run repeats
    them, and so do parts that are encoded twice.
    """

    seed: int
    step: int

    @contextlib.contextmanager
    def at(self, place: int, device: torch.device) -> Iterator[None]:
        """Global generators in the state for a place in the batch; they are left as they were."""
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            seeds = np.random.SeedSequence([self.seed, self.step, place])
            torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> 1))
            yield


def backward(
    method: TrainedMethod,
    batch: Batch | None,
    draws: StepSeed,
    parameters: Sequence[nn.Parameter],
    *,
    group: Group,
    micro_batch: int | None = None,
    encode: Encode | None = None,
) -> tuple[dict[str, torch.Tensor], int]:
    """Leave the gradient of the global batch's loss in `parameters`.

    Args:
        method: in training mode.
        batch: this process's part of the global batch, on its device; None: it has no clips.
        draws: of this step.
        parameters: those that are trained.
        group: the processes.
        micro_batch: clips per forward pass; all at once when None.
        encode: stands in for `method.encode` (compiled).

    Returns:
        The losses, detached, equal on all processes, and the number of clips of the global batch;
        no losses where there are no clips.
    """
    for p in parameters:
        p.grad = None
    counts = group.all_counts(len(batch.video_ids) if batch else 0)
    if not sum(counts):
        return {}, 0
    first = sum(counts[: group.rank])
    parts = _Parts(encode or method.encode, batch, draws, first, micro_batch)
    leaves = _gathered(parts, group, counts)
    with draws.at(_LOSS, group.device):
        losses = method.losses(leaves)
    if losses["loss"].requires_grad:
        losses["loss"].backward()  # type: ignore[no-untyped-call]
    for p in parameters:
        if p.grad is not None and group.size > 1:
            p.grad /= group.size  # the same in every process, and about to be summed
    parts.backward({name: leaf.grad for name, leaf in leaves.items()}, first)
    group.sum_gradients(parameters)
    return {name: loss.detach() for name, loss in losses.items()}, sum(counts)


class _Parts:
    """This process's clips, encoded in parts."""

    def __init__(
        self,
        encode: Encode,
        batch: Batch | None,
        draws: StepSeed,
        first: int,
        micro_batch: int | None,
    ) -> None:
        self.encode, self.draws, self.first = encode, draws, first
        self.batches = split(batch, micro_batch) if batch else []
        self.with_graph: Encoded = {}
        self.values: Encoded = {}
        starts = np.cumsum([0, *(len(part.video_ids) for part in self.batches)]).tolist()
        self.bounds = list(itertools.pairwise(starts))
        if self.batches:
            self.with_graph = self._encoded(0)
            with torch.no_grad():
                later = [self._encoded(i) for i in range(1, len(self.batches))]
            self.values = {
                name: torch.cat([tensor.detach(), *(part[name] for part in later)])
                if later
                else tensor.detach()
                for name, tensor in self.with_graph.items()
            }

    def backward(self, gradients: dict[str, torch.Tensor | None], first: int) -> None:
        """Send the samples' gradients back; this process's are those from `first` on."""
        for i, (start, stop) in enumerate(self.bounds):
            encoded = self.with_graph if i == 0 else self._encoded(i)
            own = {
                name: gradient[first + start : first + stop]
                for name, gradient in gradients.items()
                if gradient is not None and encoded[name].requires_grad
            }
            if own:
                torch.autograd.backward([encoded[name] for name in own], list(own.values()))
            self.with_graph = {}

    def _encoded(self, i: int) -> Encoded:
        batch = self.batches[i]
        device = batch.clips.device
        with (
            self.draws.at(self.first + self.bounds[i][0], device),
            torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"),
        ):
            encoded = self.encode(batch)
        return {name: full_precision(tensor) for name, tensor in encoded.items()}


def _gathered(parts: _Parts, group: Group, counts: Sequence[int]) -> Encoded:
    """The encoded samples of all processes; leaves of the loss's graph."""
    shapes = {
        name: (list(value.shape[1:]), str(value.dtype), parts.with_graph[name].requires_grad)
        for name, value in parts.values.items()
    }
    if 0 in counts:  # a process without clips cannot know what the others encode
        said = group.all_gather_object({name: list(shape) for name, shape in shapes.items()})
        shapes = next(each for each in said if each)
    leaves = {}
    for name, (shape, dtype, needs_grad) in shapes.items():
        value = parts.values.get(name)
        if value is None:
            kind = getattr(torch, dtype.removeprefix("torch."))
            value = torch.empty(0, *shape, dtype=kind, device=group.device)
        leaves[name] = group.all_gather(value, counts).requires_grad_(needs_grad)
    return leaves


def split(batch: Batch, size: int | None) -> list[Batch]:
    """Parts of at most `size` clips, in order."""
    total = len(batch.video_ids)
    if size is None or size >= total:
        return [batch]
    return [batch.part(start, start + size) for start in range(0, total, size)]
