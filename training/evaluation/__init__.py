"""What a trained model is worth.

Reading order: `evaluate` (predictions and metrics), `scoring` (probabilities), `task` and `tasks`
(what is predicted, found by name), `metrics`, `validation` (chooses an epoch), `wise_ft` (weights
between CLIP's and the trained ones), `few_shot` with `episodes` and `nearest_class_mean` (few-shot
accuracy of any run), `pairs` (of classes that look alike), `comparison` (several seeds or splits of
several variants) and `base_to_novel` (with the harmonic mean).
"""
