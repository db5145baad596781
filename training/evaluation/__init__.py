"""What a trained model is worth.

Reading order: `evaluate` (predictions and metrics), `scored` (their keys), `scoring`
(probabilities), `task` and `tasks` (what is predicted, found by name), `metrics`, `validation`
(chooses an epoch), `wise_ft` (weights between CLIP's and the trained ones), `frozen` (frozen CLIP
without a run), `few_shot` with
`episodes` and `nearest_class_mean` (few-shot accuracy of any run), `tables` (over several runs).
"""
