"""Tables that prove where they came from.

Reading order: `schema` and `kinds` (what a row of each kind is), `validation` (a table against it),
`tensors` (arrays in a column), `provenance` (how an artifact is identified), `artifact` and `store`
(read verified, found by key), `draft` (written once) with `files`, `jobs` (made part by part),
`class_matrix`, `views` (facts for people).
"""
