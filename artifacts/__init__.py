"""Tables that prove where they came from.

Reading order: `schema` and `kinds` (what a row of each kind is), `validation` (a table against it),
`tensors` (arrays in a column), `frozen` (the base of all configs), `provenance` (how an artifact is
identified), `artifact` and `store` (read verified, found by key), `draft` (written once) with
`files` (durable writes, hashes, locks), `jobs` (made part by part), `class_matrix` (class pairs as
an array), `views` (facts for people); `processes` (what a child process imports).
"""
