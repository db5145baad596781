"""Jobs made part by part, called as flows call them but without a flow."""

import time

from artifacts.jobs import make_all, make_parts, publish
from knowledge.embedding.config import EncodingOptions
from knowledge.embedding.frames import FrameJob


def make_shard(job, part_numbers):
    """Make some parts beside other processes; the artifact, once no part is missing."""
    started = time.monotonic()
    work = make_parts(job, part_numbers)
    return publish(job, work, time.monotonic() - started)


def frame_embeddings(store, clip, videos, root, config, progress=None, encoding=None, **sizes):
    """Decode and embed every usable video."""
    encoding = (encoding or EncodingOptions()).resolved(clip)
    return make_all(FrameJob(store, clip, videos, root, config, encoding, **sizes), progress)
