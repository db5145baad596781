"""Frozen CLIP.

Reading order: `weights` (which model), `model` (loaded), `tokens`; `bundled/` holds the demo
world's weights.
"""
