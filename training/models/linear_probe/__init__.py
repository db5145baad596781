"""Linear probe: logistic regression on the mean features of frozen CLIP.

Reading order: `config`, `regression`, `model`, `recipes`.
"""
