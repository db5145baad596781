"""Downstream: artifacts to a trained and scored model, and nothing else.

Reading order: `config` (what decides a run), `data` (artifacts joined to batches), `models` (a
folder per method) with `layers` and `backbone` (CLIP's towers), `loop` (training) with
`distributed`, `evaluation` (what a model is worth), `inference` (a run in use), `launch` (several
processes).
"""
