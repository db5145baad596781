"""Facts about artifacts: small typed rows whose numbers are numbers, for whoever shows them.

Reading order: `listing` (what is in a store), `rows` (of any artifact), then one module per thing
looked at: `cooccurrence` with `class_matrix`, `negatives`, `metrics`, `few_shot`, `comparison`
(metrics of several runs), `unusable` (videos), `lineage` (its sources), `difference` (what changed
between two).
"""
