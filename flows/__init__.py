"""Orchestrates: resolves inputs, calls one plain function per task, reports.

Reading order: `pipeline` (the whole chain), then its links `register_dataset`, `extract_knowledge`,
`mine_negatives` and `train_model`; `evaluation` (scoring what was trained); `remine_negatives`
(with a trained run) and `register_features` (made elsewhere) in place of mining; `orchestration`
(what flows share), `terminal` (what a command prints), `demos`, `cli` with `commands` (the command
line).
"""
