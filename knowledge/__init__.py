"""Makes knowledge: datasets, videos, LLM extraction, frozen CLIP, hard-negative mining.

Reading order: `datasets` (videos and classes), `video` and `clip` (frames and texts to numbers),
`frame_embedding` and `text_embedding` (these numbers as artifacts), `nearest` and `mining` (hard
negatives), `llm`, `question`, `asking`, `extraction` and `kinds` (what an LLM knows about the
classes).
"""
