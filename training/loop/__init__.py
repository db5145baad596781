"""The training loop.

Reading order: `trainer` (a run, from artifacts to artifact), `epochs` (by gradient steps), `step`
(one gradient), `fit` (in one pass instead), `state`, `optimizer`, `schedule`, `resume`,
`earlier` (runs by other code), `compile`, `tensorboard`.
"""
