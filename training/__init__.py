"""Trains and evaluates video action recognition models on artifacts and videos, and nothing else.

Reading order: `config`, `model_configs`, `recipe` and `recipes` (what a run is), `inputs`
(artifacts that belong together), `batches`, `negatives` and `class_texts` (joined by id), `clips`
(videos decoded and augmented), `method`, `losses`, `temporal`, `prompts` and `models` (the
methods), `vision`, `text_tower` and `initial_weights` (CLIP's towers, trained or frozen),
`assembly` (the parts of a run), `trainer`, `progress` and `steps` (the loop, its state, a step),
`optimizers` and `schedules`, `distributed`, `launch` and `worker` (several processes), `resume` and
`checkpoint` (what a run leaves under way and at its end), `metrics`, `scoring` and `evaluation`
(what it is worth).
"""
