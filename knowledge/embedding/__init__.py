"""From videos and texts to CLIP embeddings.

Reading order: `frames` (videos), `class_texts` and `templates` (class names and descriptions),
`corpus_texts` and `corpus_file` (files of texts), `config` (what is embedded of all these, and
how), `features` (embeddings a user brings), `video_files` (without store or dataset); `engine`
encodes on all cores.
"""
