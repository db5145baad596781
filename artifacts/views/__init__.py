"""Facts about artifacts for people and pages.

Reading order: `rows`, then one module per thing looked at: `cooccurrence`, `negatives`, `metrics`,
`lineage` (what an artifact was made from), `difference` (what changed between two).
"""
