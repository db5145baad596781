"""A small rendered world of 36 actions, for demos and tests that need no download.

Reading order: `classes` (what there is), `grammar` (which clips exist), `actions` (how each class
moves), `drawing` (plan to frames), `encode` (frames to mp4), `generate` (the dataset on disk),
`contact_sheet` (to look at it).
"""
