"""What the processes that the engine forks do: make parts, or encode for those that make them.

A decoder that hangs or crashes in C takes only its worker along. The worker has said before which
video it touches, and an alarm that it does not handle ends it after the deadline.

Legend: N images, S pixels, D embedding.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

import numpy as np
import torch

from knowledge.clip.architecture import first_line
from knowledge.embedding.engine.channel import Channel
from knowledge.embedding.engine.image_encoder import IMAGES_PER_BATCH, Encode, Rows, canary_images
from knowledge.embedding.engine.part import PartEncoder, check_canary, is_stored, store_part
from knowledge.embedding.engine.spec import Part
from knowledge.video.resizing import Resizing

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def fork(run: Callable[[], None], name: str) -> int:
    """Run a function in a forked process, which ends with it or with this process; its id.

    On Linux, process lists show the name.
    """
    parent = os.getpid()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    try:
        if sys.platform == "linux":
            prctl = ctypes.CDLL(None).prctl
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            prctl(_PR_SET_NAME, name.encode())
        if os.getppid() == parent:
            run()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def make_parts(engine: Channel, encode: Encode, image_size: int, resizing: Resizing) -> None:
    """Make the parts that the engine asks for, until it closes the channel."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    canary: Rows | None = None
    while message := engine.receive():
        part = Part.model_validate(message["part"])

        def decoding(place: int | None, deadline_s: float = part.deadline_s) -> None:
            if place is not None:
                engine.send({"decoding": place})
                signal.setitimer(signal.ITIMER_REAL, deadline_s)
            else:
                signal.setitimer(signal.ITIMER_REAL, 0)
                engine.send({"decoding": None})

        try:
            if canary is None:
                canary = encode(canary_images(image_size))[0]
            check_canary(part, canary)
            num_decoded = 0
            if not is_stored(part):  # by a worker that died before it could say so
                table, num_decoded = PartEncoder(
                    part, encode, image_size, resizing, decoding
                ).make()
                store_part(part, table)
        except ValueError as error:
            engine.send({"error": str(error), "kind": "ValueError"})
        except ConnectionError as error:
            engine.send({"error": str(error), "kind": "RuntimeError"})
        except ModelError as error:  # its process has shown where
            engine.send({"error": str(error), "kind": "RuntimeError"})
        except Exception as error:
            traceback.print_exc()
            engine.send({"error": said(error), "kind": "RuntimeError"})
        else:
            engine.send({"made": part.number, "num_decoded": num_decoded})


class ModelError(RuntimeError):
    """The model failed in the encoder's process."""


class SharedBatch:
    """Memory that a worker and the encoder share: one batch of images and its embeddings."""

    def __init__(self, image_size: int, dim: int) -> None:
        """Reserve it; processes forked later see the same bytes."""
        shape = (IMAGES_PER_BATCH, 3, image_size, image_size)
        num_bytes = int(np.prod(shape))
        rows = IMAGES_PER_BATCH * (dim + 1)
        self._images = np.frombuffer(mmap.mmap(-1, num_bytes), np.uint8).reshape(shape)
        self._rows = np.frombuffer(mmap.mmap(-1, 4 * rows), np.float32).reshape(-1, dim + 1)

    @property
    def images(self) -> torch.Tensor:
        """(N, 3, S, S) uint8."""
        return torch.from_numpy(self._images)

    def put(self, units_ND: Rows, norms_N: Rows) -> None:
        """Store results."""
        self._rows[: len(units_ND), :-1] = units_ND
        self._rows[: len(units_ND), -1] = norms_N

    def get(self, count: int) -> tuple[Rows, Rows]:
        """Copies of the results."""
        rows = self._rows[:count].copy()
        return rows[:, :-1], rows[:, -1]


class RemoteEncoder:
    """Encodes in the encoder's process; a worker that went before may have left a reply behind."""

    def __init__(self, encoder: Channel, batch: SharedBatch) -> None:
        """Use this channel and memory, which are this worker's alone."""
        self._encoder, self._batch = encoder, batch

    def __call__(self, images_N3SS: torch.Tensor) -> tuple[Rows, Rows]:
        """As `ImageEncoder`.

        Raises:
            ConnectionError: the encoder's process died.
            ModelError: the model failed.
        """
        count = len(images_N3SS)
        self._batch.images[:count] = images_N3SS
        with contextlib.suppress(BrokenPipeError):
            self._encoder.send({"count": count, "sender": os.getpid()})
        while reply := self._encoder.receive():
            if reply["sender"] != os.getpid():
                continue
            if "error" in reply:
                raise ModelError(reply["error"])
            return self._batch.get(count)
        raise ConnectionError("the encoder died; run again: it goes on from there")


def encode_for_others(
    make_encoder: Callable[[], Encode], clients: Sequence[tuple[Channel, SharedBatch]]
) -> None:
    """Answer the requests of workers, one batch at a time, until they are gone."""
    encode: Encode | None = None
    selector = selectors.DefaultSelector()
    for channel, batch in clients:
        selector.register(channel, selectors.EVENT_READ, (channel, batch))
    while True:
        for key, _ in selector.select():
            channel, batch = key.data
            if (requests := channel.arrived()) is None:
                return
            for request in requests:
                reply = {"sender": request["sender"]}
                try:
                    encode = encode or make_encoder()
                    batch.put(*encode(batch.images[: request["count"]]))
                except Exception as error:
                    traceback.print_exc()
                    reply["error"] = said(error)
                channel.send(reply)


def said(error: Exception) -> str:
    """What is told of an exception, which would come again."""
    return f"embedding failed: {type(error).__name__}: {first_line(error)}"
