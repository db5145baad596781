"""Frozen CLIP.

Reading order: `weights` (which model), `lazy` (loaded when used), `model` (loaded), `tokens`;
`bundled/` holds the demo world's weights.
"""
