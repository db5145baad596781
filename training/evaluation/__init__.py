"""What a trained model is worth.

Reading order: `evaluate` (predictions and metrics), `scoring` (probabilities), `metrics`, `pairs`,
`comparison` (several seeds of several variants).
"""
