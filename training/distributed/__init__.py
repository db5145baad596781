"""Processes that train together.

Reading order: `group`.
"""
