"""Flows that score published runs.

Reading order: `evaluate_run` (on a split), `evaluate_frozen` (frozen CLIP, without a run),
`few_shot` (on episodes), `summarise` (several scores as one table).
"""
