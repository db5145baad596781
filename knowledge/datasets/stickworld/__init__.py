"""A small rendered world of 36 actions, for demos and tests that need no download.

Read in this order: `classes` (what there is), `figure` and `canvas` (a body and how it is drawn),
`props` and `scene` (everything else in the picture), `actions` with `movement`, `objects` and
`interaction` (how each class moves), `grammar` (which clips exist), `render` and `encode` (plan to
frames to mp4), `generate` (the dataset on disk), `contact_sheet` (to look at it).
"""
