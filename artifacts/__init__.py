"""Tables that prove where they came from.

Reading order: `schema` and `kinds` (what a row of each kind is), `validation` (a table against it),
`tensors` (arrays in a column), `frozen` (the base of all configs), `provenance` (how an artifact is
identified), `artifact` and `store` (read verified, found by key), `draft` (written once) with
`files` (durable writes, hashes, locks), `jobs` (made part by part), `views` (facts for people
and matrices); `processes` (what a child process imports).
"""
