"""One run on one process or several.

Reading order: `launch` (starts them), `worker` (one of them), `threads` (of each).
"""
