"""What flows share.

Reading order: `specs` (what flows are given), `flow` (the decorators), `watched` (recorded by
Prefect), `report` (what a task hands on), `console` (progress), `resolve`, `train_inputs` and
`start` (from names to artifacts), `runners` (where shards run), `clusters` (Dask and Ray),
`side_by_side` (several runs at a time).
"""
