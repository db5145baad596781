"""CLIP's towers inside a model that is trained.

Reading order: `image_tower`, `text_tower`, `initial_weights`.
"""
