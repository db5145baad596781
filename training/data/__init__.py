"""Artifacts joined by id to batches.

Reading order: `run_data` (all a run reads), `inputs` and `checks` (artifacts that belong together),
`class_list`, `video_set`, `negatives`, `order` (of an epoch), `sources` (cached clips), `clips`
(decoded ones) with `augmentation`, `frame_cache`, `batch`.
"""
