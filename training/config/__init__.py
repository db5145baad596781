"""What decides a run; nothing here needs torch.

Reading order: `run` (all of it), `settings` (the base), `method`, `data`, `optim`, `evaluation`,
`runtime` (how it is carried out), `overrides` (changes and messages).
"""
