"""From embeddings to hard negatives.

Reading order: `job`, `config`, `videos` (that are mined), `corpus` (texts), `nearest` and
`inverted_lists` (search), `candidates` (ranked), `filters` (rejected), `export`,
`contact_sheet` (to look at them).
"""
