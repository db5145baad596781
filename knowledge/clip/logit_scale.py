"""The bound of CLIP's factor on cosines; apart, so that who trains one need not load open_clip."""

from __future__ import annotations

import math

MAX_LOGIT_SCALE = math.log(100)
"""Largest logarithm of the factor, CLIP's own bound."""
