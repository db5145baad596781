"""Orchestrates: resolves inputs, calls one plain function per task, reports.

Reading order: `pipeline` (the whole chain), then its links `register_dataset`, `extract_knowledge`,
`mine_negatives`, `train_model`, and `evaluate_run`; `orchestration` (what flows share), `terminal`
(what a command prints), `demos`, `cli` with `commands` (the command line).
"""
