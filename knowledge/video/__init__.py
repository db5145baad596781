"""From a video file to frames.

Reading order: `sampling` (which frames), `resizing` (into which squares), `frames` (read and
resized), `decoding` and `packets` (only what is needed of a file), `orientation` (turned and
mirrored), `probing` and `fingerprint` (facts of a file), `workers` (processes that may die).
"""
