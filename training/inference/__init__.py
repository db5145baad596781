"""A trained run in use.

Reading order: `prediction` (video files), `export` (without the store), `reembedding` (to mine
again).
"""
