"""Typed Parquet tables that prove where they came from.

Reading order: `schemas` (what a row of each kind is), `validation` (how a table is checked against
it), `tensors` (how arrays are stored in a column), `provenance` (how an artifact is identified),
`draft` and `store` (how it is written once and read verified), `class_matrix` and `inspection`.
"""
