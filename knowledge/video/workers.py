"""Processes that read video files: one that dies or takes too long costs one video.

Decoders and demuxers written in C sometimes crash or hang on a damaged file.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pebble import ProcessExpired, ProcessPool

from artifacts.processes import import_environment_set
from knowledge.video.decoding import VideoError

DEADLINE_S = 300.0
"""A video that takes longer is unreadable."""

DIED = "the process that read it died"

_TOO_LONG = "reading took longer than"

_TRIES = 2
"""Of a video at which a process dies: it may have died of something else, such as no memory."""

_Result = TypeVar("_Result")


@dataclass
class Waiting(Generic[_Result]):
    """A video that is being read."""

    path: Path
    arguments: tuple[Any, ...]
    future: Future[tuple[_Result, None] | tuple[None, str]] | None = None
    """None: it is known to end the process that reads it."""
    known: str | None = None
    tries: int = 0


class VideoWorkers(Generic[_Result]):
    """Workers that read videos; used as a context."""

    def __init__(
        self,
        workers: int,
        read: Callable[..., _Result],
        *,
        deadline_s: float = DEADLINE_S,
        preload: str | None = None,
    ) -> None:
        """Start them.

        Args:
            workers: processes, each of which uses one thread; 0: threads of this process, which no
                deadline binds and a crash ends.
            read: what they do: a function of a module, called with a path and further arguments;
                raises VideoError.
            deadline_s: longest time for one video.
            preload: module with heavy imports; the processes are then forked from one that has
                imported it.
        """
        self.read, self.deadline_s = read, deadline_s
        self._workers, self._preload = workers, preload
        self._threads = None if workers else ThreadPoolExecutor(min(8, os.cpu_count() or 1))
        self._pool = self._new() if workers else None
        self._has_answered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads:
            self._threads.shutdown(wait=True, cancel_futures=True)
        self._end()

    def start(self, path: Path, *arguments: Any, known: str | None = None) -> Waiting[_Result]:
        """Have a video read.

        Args:
            path: the video.
            arguments: further ones for `read`.
            known: why it could not be read before; it is not tried again if that ended a process.
        """
        waiting: Waiting[_Result] = Waiting(path, arguments)
        if known and known.startswith((DIED, _TOO_LONG)):
            waiting.known = known
        else:
            self._submit(waiting)
        return waiting

    def result(self, waiting: Waiting[_Result]) -> _Result:
        """What `read` gave.

        Raises:
            VideoError: it cannot be read, takes too long, or ends the process that reads it, twice.
            RuntimeError: no process can be started.
        """
        if waiting.future is None:
            raise VideoError(waiting.path, waiting.known or DIED)
        try:
            found, reason = waiting.future.result()
        except TimeoutError:
            reason = f"{_TOO_LONG} {self.deadline_s:g} s"
        except (ProcessExpired, BrokenProcessPool, CancelledError) as error:
            if waiting.tries < _TRIES:
                self._submit(waiting)
                return self.result(waiting)
            if not self._has_answered and isinstance(error, BrokenProcessPool):
                raise RuntimeError(
                    "no process that reads videos could be started; a script of your own must call "
                    'this below `if __name__ == "__main__":`'
                ) from error
            reason = DIED
        self._has_answered = True
        if reason is not None:
            raise VideoError(waiting.path, reason)
        return found  # type: ignore[return-value]

    def map(self, paths: Iterable[Path], ahead: int) -> Iterator[_Result | VideoError]:
        """What `read` gives for each path, in order, of which so many are under way at a time."""
        waiting: deque[Waiting[_Result]] = deque()
        for path in paths:
            waiting.append(self.start(path))
            if len(waiting) > ahead:
                yield self._outcome(waiting.popleft())
        while waiting:
            yield self._outcome(waiting.popleft())

    def _submit(self, waiting: Waiting[_Result]) -> None:
        """Have it read."""
        waiting.tries += 1
        given = (self.read, waiting.path.absolute(), *waiting.arguments)
        if self._threads:
            waiting.future = self._threads.submit(_read, *given)
            return
        assert self._pool is not None
        if not self._pool.active:  # its processes died
            self._end()
            self._pool = self._new()
        waiting.future = self._pool.schedule(_read, args=given, timeout=self.deadline_s)

    def _new(self) -> ProcessPool:
        context = multiprocessing.get_context("forkserver" if self._preload else "spawn")
        if self._preload:
            context.set_forkserver_preload([self._preload])
            with import_environment_set():  # a fork server does not take over `sys.path`
                forkserver.ensure_running()
        return ProcessPool(self._workers, initializer=be_worker, context=context)

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()

    def _outcome(self, waiting: Waiting[_Result]) -> _Result | VideoError:
        try:
            return self.result(waiting)
        except VideoError as error:
            return error


def be_worker() -> None:
    """Make a process a worker: one thread, and no life after the process that started it."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for a torch that is imported later
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _read(
    read: Callable[..., _Result], path: Path, *arguments: Any
) -> tuple[_Result, None] | tuple[None, str]:
    """The result, or the reason why there is none: exceptions of two arguments cannot be sent."""
    try:
        return read(path, *arguments), None
    except VideoError as error:
        return None, error.reason
