"""Something that reads videos in a process and does not come back from some of them."""

import os
import signal
import time

import numpy as np

from knowledge.video import probing
from knowledge.video.decoding import VideoError


def read(path, number):
    """`number` as a picture; kills its process, or refuses, as the file's name says."""
    if path.stem == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if path.stem == "hangs":
        time.sleep(600)
    if path.stem == "refuses":
        raise VideoError(path, "no good")
    time.sleep(0.01)
    return np.full((2,), number, np.uint8)


def probe(path):
    """As `knowledge.video.probing.probe`, unless the file's name says otherwise."""
    read(path, 0)
    return probing.probe(path)


def own_pid(path):
    """The id of the process that reads."""
    return np.array([os.getpid()])
