"""Upstream: makes the artifacts that training reads.

Reading order: `datasets` (lists and files to classes and videos), `video` (a file to frames),
`clip` (frozen CLIP), `llm` (an endpoint) and `extraction` (what it knows about the classes),
`embedding` (videos and texts to vectors), `mining` (vectors to hard negatives); beside the path
`stickworld`, the demo world, and `pretraining`, how its CLIP was made.
"""
