"""Datasets, one reader each, found by name.

Reading order: `folder`, then any; the lists they share are read in `knowledge.datasets.list_files`.
"""
