"""The chain on the demo world.

Reading order: `stickworld` (up to hard negatives, and training), `demo` with `demo_screen` and
`demo_report`, `reproduce` (the papers' tables) with `batch_axis`.
"""
