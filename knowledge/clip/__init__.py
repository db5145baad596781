"""Frozen CLIP.

Reading order: `weights` (which model), `lazy` (loaded when used), `model` (loaded), `tokens`,
`logit_scale` (its bound); `bundled/` holds the demo world's weights.
"""
