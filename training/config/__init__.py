"""What decides a run; nothing here needs torch.

Reading order: `run` (all of it), `method` (what a method's config answers), `data`, `optim`,
`evaluation`, `runtime` (how it is carried out), `losses` and `negatives` (parts of methods'
configs), `episodes` (few-shot), `settings` (types, messages), `overrides` (changes), `facts` (what
the weights of a run say of it), `method_code` (which code makes it).
"""
