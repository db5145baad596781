"""From video files to the Parquet parts of `frame_embeddings`, on all cores or a GPU.

Reading order: `spec` (what is asked for), `part` (a part's videos to a table), `image_encoder` and
`text_encoder` (images and texts to embeddings) with `blocks`, `client` (starts and feeds the
engine), `engine` (the process that forks the workers), `worker` (what they do), `channel` (messages
between them).
"""
