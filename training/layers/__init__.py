"""Parts that models share.

Reading order: `attention`, `losses`, `logit_scale`.
"""
