"""Starting engines, feeding them parts, and keeping idle ones for the next job."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

from artifacts.jobs import Progress
from artifacts.processes import import_environment
from knowledge.clip.architecture import model_config
from knowledge.clip.lazy import LazyClip
from knowledge.embedding.config import Precision
from knowledge.embedding.engine.channel import Channel, Message
from knowledge.embedding.engine.spec import EngineSpec, Part, WorkerPoolSpec


class EngineProcess:
    """A running engine process, as its client sees it."""

    def __init__(self, spec: EngineSpec) -> None:
        """Start it; it loads its model while the caller goes on."""
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = _start(theirs)
        self.channel = Channel(ours)
        self.channel.send(spec.model_dump(mode="json"))
        self.is_ready = False

    def run(
        self,
        parts: Iterable[Part],
        pool: WorkerPoolSpec,
        seen: Progress,
        made: Callable[[Part, int], None],
    ) -> None:
        """Have parts made, as many at a time as there are workers.

        Args:
            parts: taken as they are needed.
            pool: processes to use.
            seen: called with a part's number and how many of its videos are done.
            made: called with a part and how many of its videos were decoded.

        Raises:
            ValueError: the model cannot be loaded, or a file is not the registered one.
            RuntimeError: the engine or its workers died.
        """
        if not self.is_ready:
            self._answer()
            self.is_ready = True
        self._send({"pool": pool.model_dump()})
        given: dict[int, Part] = {}
        for part in _and_then_none(parts):
            while len(given) > pool.num_workers or (part is None and given):
                message = self._answer()
                if "seen" in message:
                    seen(message["of"], message["seen"])
                else:
                    made(given.pop(message["made"]), message["num_decoded"])
            if part is not None:
                given[part.number] = part
                self._send({"part": part.model_dump(mode="json")})

    def cancelled(self) -> bool:
        """Drop the parts under way; whether that left the engine fit for another job."""
        if not self.is_ready:
            return False
        try:
            self.channel.send({"cancel": True})
            while (message := self.channel.receive()) and "cancelled" not in message:
                pass
        except OSError:
            return False
        return message is not None

    def close(self) -> None:
        """End it, and with it its workers."""
        self.process.kill()
        self.process.wait()
        self.channel.close()

    def _send(self, message: Message) -> None:
        try:
            self.channel.send(message)
        except OSError:
            self._gone()

    def _answer(self) -> Message:
        message = self.channel.receive() or self._gone()
        if "error" in message:
            error = {"ValueError": ValueError, "RuntimeError": RuntimeError}[message["kind"]]
            raise error(message["error"])
        return message

    def _gone(self) -> Message:
        status = self.process.wait()
        if status < 0:  # by a signal: another process, the system or a person ended it
            raise RuntimeError(
                f"the encoding process ended with status {status}; run again: it goes on from there"
            )
        raise RuntimeError(
            f"the encoding process ended with status {status}, and would again; what it printed "
            "says why"
        )


def _and_then_none(parts: Iterable[Part]) -> Iterator[Part | None]:
    yield from parts
    yield None


def _start(end: socket.socket) -> subprocess.Popen[bytes]:
    """A process that serves one end of a connection."""
    return subprocess.Popen(
        [sys.executable, "-m", "knowledge.embedding.engine.engine", str(end.fileno())],
        pass_fds=[end.fileno()],
        stdin=subprocess.DEVNULL,
        env=os.environ | import_environment() | {"OMP_NUM_THREADS": "1"},
    )


_idle: dict[str, list[EngineProcess]] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def engine(clip: LazyClip, precision: Precision) -> Iterator[EngineProcess]:
    """An engine of a model: an idle one or a new one, idle again afterwards.

    Idle engines end with this process.
    """
    spec = EngineSpec(
        clip=clip.spec,
        model_config_json=model_config(clip.spec.arch),
        identity=clip.identity,
        precision=precision,
    )
    key = spec.model_dump_json()
    with _lock:
        idle = _idle.setdefault(key, [])
        while idle and idle[-1].process.poll() is not None:
            idle.pop().close()
        found = idle.pop() if idle else None
    found = found or EngineProcess(spec)
    try:
        yield found
    except BaseException as error:
        if isinstance(error, Exception) and found.cancelled():
            _idle[key].append(found)
        else:
            found.close()
        raise
    _idle[key].append(found)


def close_idle() -> None:
    """End the engines that wait for work."""
    with _lock:
        for each in [each for idle in _idle.values() for each in idle]:
            each.close()
        _idle.clear()


def _leave_to_parent() -> None:
    """In a forked process: these engines serve the process that started them."""
    for each in [each for idle in _idle.values() for each in idle]:
        each.channel.close()
        each.process.returncode = 0
    _idle.clear()


atexit.register(close_idle)
os.register_at_fork(after_in_child=_leave_to_parent)
