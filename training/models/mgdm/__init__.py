"""MGDM.

Reading order: `config`, `model`, `recipes`.
"""
