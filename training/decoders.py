"""Threads or processes that read videos, and what happens when one of these processes dies.

Decoders written in C sometimes crash on a damaged file. In a process of its own that costs one
video: those that were lost with the process are read again, each alone, which finds the culprit.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from knowledge.video import VideoError

Clip = npt.NDArray[np.uint8]
Read = Callable[..., Clip]
"""A function of a module, called with a path and further arguments; raises VideoError."""

DIED = "the process that decoded it died"


@dataclass(frozen=True)
class Waiting:
    """A video that is being read."""

    path: Path
    arguments: tuple[Any, ...]
    future: Future[Clip | str] | None
    """None: it is known to end the process that reads it."""


class Decoders:
    """Workers that read videos; used as a context."""

    def __init__(self, workers: int, read: Read) -> None:
        """Start them.

        Args:
            workers: processes, each of which uses one thread; 0: threads of this process.
            read: what they do.
        """
        self.workers, self.read = workers, read
        self._pool = self._new(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self, path: Path, known: str | None, *arguments: Any) -> Waiting:
        """Have a video read.

        Args:
            path: the video.
            known: why it could not be read before; with `DIED` it is not tried again.
            arguments: further ones for `read`.
        """
        if known == DIED:
            return Waiting(path, arguments, None)
        try:
            future = self._pool.submit(_read, self.read, path, *arguments)
        except BrokenProcessPool:
            self._pool = self._new(self.workers)
            future = self._pool.submit(_read, self.read, path, *arguments)
        return Waiting(path, arguments, future)

    def result(self, waiting: Waiting) -> Clip:
        """What `read` gave.

        Raises:
            VideoError: it cannot be read, or ends the process that reads it.
        """
        found: Clip | str = DIED
        if waiting.future is not None:
            try:
                found = waiting.future.result()
            except BrokenProcessPool:
                with self._new(1) as alone, contextlib.suppress(BrokenProcessPool):
                    found = alone.submit(
                        _read, self.read, waiting.path, *waiting.arguments
                    ).result()
        if isinstance(found, str):
            raise VideoError(waiting.path, found)
        return found

    @staticmethod
    def _new(workers: int) -> Executor:
        if not workers:
            return ThreadPoolExecutor(min(8, os.cpu_count() or 1))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["training.clips"])
        return ProcessPoolExecutor(workers, context, _begin)


def _begin() -> None:
    """Make a process a worker: one thread, and no life after the process that started it."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _read(read: Read, path: Path, *arguments: Any) -> Clip | str:
    """A clip, or the reason why there is none: exceptions of two arguments cannot be sent."""
    try:
        return read(path, *arguments)
    except VideoError as error:
        return error.reason
