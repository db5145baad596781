"""How the bundled CLIP of the demo world was made.

Reading order: `captions` and `stills` (what it was pretrained on), `pretrain` (makes its weights),
`zero_shot` (what it can tell apart).
"""
