"""Artifacts joined by id to batches.

Reading order: `run_data` (all a run reads), `roles` and `inputs` (artifacts by role), `checks`
(that they belong together), `class_list`, `video_set`, `negatives`, `order` (of an epoch),
`sources` (cached clips), `clips` (decoded ones) with `augmentation`, `frame_cache`, `batch`.
"""
