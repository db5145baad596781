"""Tables over several runs, from their metrics.

Reading order: `comparison` (variants over seeds, splits or draws), `base_to_novel` (with the
harmonic mean), `pairs` (of classes that are mixed up), `contrast` (what a change is worth).
"""
