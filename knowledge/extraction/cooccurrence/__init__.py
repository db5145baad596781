"""From votes to a co-occurrence matrix.

Reading order: `votes` (counted), `matrix` (selected), `agreement` (what the rounds say of each
other).
"""
