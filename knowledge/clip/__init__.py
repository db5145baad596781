"""Frozen CLIP.

Reading order: `architecture` (by name), `weights` (which model), `state` (a checkpoint's tensors),
`preprocess` (its pictures), `identity` (what keys say), `lazy` (loaded when used), `model`
(loaded), `tokens`, `logit_scale` (its bound); `bundled/` holds the demo world's weights.
"""
