"""Nearest class mean, and Tip-Adapter's cache: no training at all.

Reading order: `config`, `logits`, `model`, `recipes`.
"""
