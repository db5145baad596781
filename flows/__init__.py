"""Orchestrates: resolves inputs, calls one plain function per task, reports.

Reading order: `pipeline` (the whole chain), then `register_dataset`, `extract_knowledge`,
`mine_negatives`, `train_model` (its links), `runners` (processes and clusters that shards run on),
`steps` (what a task reports), `server` (the embedded
Prefect server), `cli` (the command line), `demo`.
"""
