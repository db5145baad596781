"""Trains and evaluates video action recognition models on artifacts and videos, and nothing else.

Reading order: `config` and `recipes` (what a run is), `inputs` (artifacts that belong together),
`batches` and `negatives` (joined by id), `clips` (videos decoded and augmented), `losses`,
`temporal` and `models` (the methods), `vision` (CLIP's image tower, trained or frozen), `assembly`
(the parts of a run), `trainer` and `checkpoint` (the loop and what it leaves), `metrics` and
`evaluation` (what it is worth).
"""
