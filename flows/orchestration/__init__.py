"""What flows share.

Reading order: `flow` (the decorator), `report` (what a task hands on), `console` (progress),
`resolve`, `train_inputs` and `start` (from names to artifacts), `runners` (processes and clusters
that shards run on), `server` (the embedded Prefect server).
"""
