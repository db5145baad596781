"""Flows that score published runs.

Reading order: `evaluate_run` (on a split), `few_shot` (on episodes), `summarise` (several scores as
one table).
"""
