"""The process that embeds videos: it loads CLIP once and forks a worker per core.

Workers share the model's memory, a dead one is replaced within milliseconds, and the process that
started the engine runs no decoder. Run as `python -m knowledge.embedding.engine.engine FD`, FD
being a connected socket; the engine ends when it closes, and its workers end with the engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import traceback
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import open_clip
import torch

from knowledge.clip.architecture import quiet
from knowledge.clip.model import load_clip
from knowledge.embedding.engine.channel import Channel, Message, pair
from knowledge.embedding.engine.image_encoder import Encode, ImageEncoder
from knowledge.embedding.engine.spec import EngineSpec, WorkerPoolSpec
from knowledge.embedding.engine.worker import (
    RemoteEncoder,
    SharedBatch,
    encode_for_others,
    fork,
    make_parts,
    said,
)

MAX_DEATHS = 3
"""Deaths of workers on one part, outside decoding, after which the run fails."""


@dataclass(eq=False)
class _Worker:
    pid: int
    channel: Channel
    slot: int
    part: Message | None = None
    decoding: int | None = None
    num_seen: int = 0


@dataclass
class _Slot:
    """What a worker inherits when the encoder is a process of its own."""

    encoder_end: Channel
    worker_end: Channel
    batch: SharedBatch


@dataclass
class Engine:
    """Hands parts to workers, replaces those that die, and gives up videos that kill them."""

    client: Channel
    encoder: ImageEncoder
    pool: WorkerPoolSpec | None = None
    workers: dict[int, _Worker] = field(default_factory=dict)
    """By slot, of which there are `num_workers`."""
    waiting: deque[Message] = field(default_factory=deque)
    deaths: Counter[tuple[int, int | None]] = field(default_factory=Counter)
    """By part and place of the video that was being decoded."""
    slots: list[_Slot] = field(default_factory=list)
    encoder_pid: int | None = None

    def serve(self) -> None:
        """Work until the client closes its end."""
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.client, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    if (messages := self.client.arrived()) is None:
                        return
                    for message in messages:
                        self._from_client(message)
                elif key.data in self.workers.values():  # not one that was just stopped
                    self._from_worker(key.data)

    def _from_client(self, message: Message) -> None:
        if "part" in message:
            self.waiting.append(message)
            self._hand_out()
        elif "pool" in message:
            self._assemble(WorkerPoolSpec.model_validate(message["pool"]))
        else:
            self.waiting.clear()
            self.pool = None  # the next job finds out whether the encoder lives
            for worker in list(self.workers.values()):
                if worker.part:
                    self._stop(worker)
            self.client.send({"cancelled": True})

    def _from_worker(self, worker: _Worker) -> None:
        messages = worker.channel.arrived()
        if messages is None:
            self._died(worker, self._stop(worker))
            return
        for message in messages:
            if "decoding" in message:
                worker.decoding = message["decoding"]
                worker.num_seen += worker.decoding is not None
                if worker.decoding is None and worker.part:
                    number = worker.part["part"]["number"]
                    self.client.send({"seen": worker.num_seen, "of": number})
                continue
            worker.part = None
            self.client.send(message)
        self._hand_out()

    def _hand_out(self) -> None:
        assert self.pool is not None
        for slot in range(self.pool.num_workers):
            if not self.waiting:
                return
            if slot not in self.workers:
                self._start_worker(slot)
            worker = self.workers[slot]
            if worker.part is None:
                worker.part, worker.num_seen = self.waiting.popleft(), 0
                with contextlib.suppress(OSError):  # its death is noticed, and the part kept
                    worker.channel.send(worker.part)

    def _start_worker(self, slot: int) -> None:
        """Fork a worker."""
        ours, theirs = pair()
        encode: Encode = self.encoder
        if self.slots:
            encode = RemoteEncoder(self.slots[slot].worker_end, self.slots[slot].batch)
        pid = fork(partial(self._work, theirs, encode), "video-worker")
        theirs.close()
        self.workers[slot] = _Worker(pid, ours, slot)
        self.selector.register(ours, selectors.EVENT_READ, self.workers[slot])

    def _work(self, channel: Channel, encode: Encode) -> None:
        self._close_inherited()
        make_parts(channel, encode, self.encoder.image_size, self.encoder.resizing)

    def _assemble(self, pool: WorkerPoolSpec) -> None:
        """Get ready for a job; workers are forked when there is work for them."""
        self.deaths.clear()
        if pool == self.pool:
            return
        self.pool = pool
        for worker in list(self.workers.values()):
            self._stop(worker)
        if self.encoder_pid is not None:
            os.kill(self.encoder_pid, signal.SIGKILL)
            os.waitpid(self.encoder_pid, 0)
            self.encoder_pid = None
        for slot in self.slots:
            slot.worker_end.close()
        self.slots = []
        if pool.separate_encoder:
            size, dim = self.encoder.image_size, self.encoder.dim
            slots = range(pool.num_workers)
            self.slots = [_Slot(*pair(), SharedBatch(size, dim)) for _ in slots]
            self.encoder_pid = fork(self._encode, "clip-encoder")
            for slot in self.slots:
                slot.encoder_end.close()  # now the encoder's death is seen at the other end

    def _encode(self) -> None:
        self._close_inherited()
        assert self.pool is not None
        encode_for_others(
            partial(self.encoder.moved, self.pool.device),
            [(slot.encoder_end, slot.batch) for slot in self.slots],
        )

    def _close_inherited(self) -> None:
        """Close the sockets of the engine and of other workers that a forked process inherits."""
        self.client.close()
        for worker in self.workers.values():
            worker.channel.close()

    def _stop(self, worker: _Worker) -> int:
        """End a worker; its exit status, negative for a signal."""
        os.kill(worker.pid, signal.SIGKILL)  # it may be dead: nobody has waited for it yet
        self.selector.unregister(worker.channel)
        worker.channel.close()
        del self.workers[worker.slot]
        return os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])

    def _died(self, worker: _Worker, status: int) -> None:
        """Have the part made again; without the video, if that is what killed the worker."""
        if worker.part is None:
            return
        part, place = worker.part["part"], worker.decoding
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        self.deaths[part["number"], place] += 1
        times = self.deaths[part["number"], place]
        if place is not None and status == -signal.SIGALRM:
            reason = f"decoding took longer than {part['deadline_s']:g} s"
            part["unreadable"][str(place)] = reason
        elif place is not None and times > 1:
            part["unreadable"][str(place)] = f"the decoder died ({how})"
        elif place is None and times == MAX_DEATHS:
            what = f"workers died {times} times on part {part['number']} ({how})"
            remedy = "with fewer workers if memory is short, run again: it goes on from there"
            self.client.send({"error": f"{what}; {remedy}", "kind": "RuntimeError"})
            return
        self.waiting.appendleft(worker.part)
        self._hand_out()


def load_encoder(spec: EngineSpec) -> ImageEncoder:
    """The encoder of an engine.

    Raises:
        ValueError: as for `load_clip`, or the weights are others by now.
    """
    if open_clip.get_model_config(spec.clip.arch) is None and spec.model_config_json:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / f"{spec.clip.arch}.json"
            path.write_text(json.dumps(spec.model_config_json))
            open_clip.add_model_config(path)
    clip = load_clip(spec.clip)
    if clip.identity != spec.identity:
        raise ValueError(f"weights {spec.clip.weights!r} have just changed; run again")
    return ImageEncoder(clip, spec.precision)


def run(client: Channel) -> None:
    """Load the model that the first message names, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the client decides when to stop
    torch.set_num_threads(1)
    message = client.receive()
    if message is None:
        return
    spec = EngineSpec.model_validate(message)
    try:
        with quiet("knowledge.clip"):  # what it warns of is said by the client
            encoder = load_encoder(spec)
    except ValueError as error:
        client.send({"error": str(error), "kind": "ValueError"})
        return
    except Exception as error:
        traceback.print_exc()
        client.send({"error": said(error), "kind": "RuntimeError"})
        return
    client.send({"ready": True})
    Engine(client, encoder).serve()


if __name__ == "__main__":
    run(Channel(socket.socket(fileno=int(sys.argv[1]))))
