"""The chain on the demo world.

Reading order: `stickworld` (up to hard negatives), `demo` with `demo_report`, `reproduce` (the
papers' tables).
"""
