"""Processes that train one model together: who does which part, and what they exchange.

Each encodes a slice of every batch. All of them then hold all encoded samples and compute the loss
of the whole batch; so the gradient of every sample is at hand where it was encoded, and one sum
over the parameters' gradients is all that is left to exchange. (Peers gather features without
gradient, or with one that lacks the other processes' share.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import nn

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others, e.g. while one of them writes or decodes."""


_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Group:
    """Processes `rank` = 0 ... `size` - 1; one alone exchanges nothing."""

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def part(self, index_B: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """This process's slice; the slices in order of rank are the whole, in order."""
        return np.array_split(index_B, self.size)[self.rank]

    def all_counts(self, count: int) -> list[int]:
        """Every process's count, by rank."""
        if self.size == 1:
            return [count]
        found = torch.zeros(self.size, dtype=torch.long, device=self.device)
        found[self.rank] = count
        dist.all_reduce(found)
        return [int(each) for each in found.tolist()]

    def all_gather(self, rows: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        """The rows of all processes, by rank; no gradient passes.

        Args:
            rows: this process's, `counts[rank]` of them.
            counts: as `all_counts` gives them.
        """
        if self.size == 1:
            return rows
        sent = rows.to(torch.uint8) if rows.dtype == torch.bool else rows
        padded = sent.new_zeros(max(counts), *rows.shape[1:], device=self.device)
        padded[: len(rows)] = sent
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        whole = torch.cat([part[:n] for part, n in zip(found, counts, strict=True)])
        return whole.to(rows.device, rows.dtype)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum every parameter's gradient over the processes, in one message.

        A parameter without gradient in every process stays without.
        """
        if self.size == 1:
            return
        has = torch.tensor([float(p.grad is not None) for p in parameters])
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        message = torch.cat([has.to(parts[0]), *(part.flatten() for part in parts)])
        dist.all_reduce(message)
        present = message[: len(parameters)].tolist()
        start = len(parameters)
        for p, there in zip(parameters, present, strict=True):
            summed = message[start : start + p.numel()].view_as(p)
            start += p.numel()
            p.grad = summed if there else None

    def broadcast(self, tensors: Sequence[torch.Tensor]) -> None:
        """Overwrite every process's tensors with those of the first."""
        if self.size == 1:
            return
        with torch.no_grad():
            for tensor in tensors:
                sent = tensor.to(self.device)
                dist.broadcast(sent, src=0)
                tensor.copy_(sent)

    def broadcast_object(self, value: Any) -> Any:
        """What the first process says, as JSON has it."""
        return self.all_gather_object(value)[0]

    def all_gather_object(self, value: Any) -> list[Any]:
        """What every process says, by rank, as JSON has it."""
        if self.size == 1:
            return [value]
        data = np.frombuffer(json.dumps(value).encode(), np.uint8).copy()
        counts = self.all_counts(len(data))
        whole = self.all_gather(torch.from_numpy(data), counts)
        return [json.loads(bytes(part.tolist())) for part in torch.split(whole, counts)]

    def barrier(self) -> None:
        """Go on when all processes are here."""
        self.all_counts(0)


def current_group(device: torch.device, processes: int = 1) -> Group:
    """The processes torchrun started, once `joined`; otherwise this one alone.

    Args:
        device: of this process.
        processes: how many were asked for.

    Raises:
        ValueError: torchrun started several, and they have not joined; or several were asked for
            and not started.
    """
    if dist.is_available() and dist.is_initialized():
        return Group(dist.get_rank(), dist.get_world_size(), device)
    if started_by_torchrun() and int(os.environ["WORLD_SIZE"]) > 1:
        raise ValueError(
            f"torchrun started {os.environ['WORLD_SIZE']} processes, each of which would do "
            "everything; call this within `with training.distributed.group.joined(device):`"
        )
    if processes > 1:
        raise ValueError(
            f"processes={processes} are not started here; call `training.launch.launch`, which "
            "starts them"
        )
    return Group(device=device)


@contextmanager
def joined(device: str | None) -> Iterator[torch.device]:
    """Join the processes that torchrun started (gloo, or NCCL on GPUs); gives this one's device.

    Args:
        device: `cpu`, or `cuda`: the GPU of this process's place; CUDA if there is any when None.

    Raises:
        ValueError: there are fewer GPUs than processes.
    """
    local = int(os.environ["LOCAL_RANK"])
    on_gpu = torch.cuda.is_available() if device is None else device.startswith("cuda")
    if on_gpu and local >= torch.cuda.device_count():
        raise ValueError(
            f"there are fewer GPUs ({torch.cuda.device_count()}) than processes "
            f"({os.environ['LOCAL_WORLD_SIZE']}), and each needs its own; start fewer processes"
        )
    target = torch.device("cuda", local) if on_gpu else torch.device(device or "cpu")
    if on_gpu:
        torch.cuda.set_device(target)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=TIMEOUT)
    try:
        yield target
    finally:
        dist.destroy_process_group()


def started_by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()
