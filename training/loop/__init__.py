"""The training loop.

Reading order: `trainer`, `step` (a gradient), `state`, `optimizer`, `schedule`, `resume`,
`compile`, `tensorboard`.
"""
