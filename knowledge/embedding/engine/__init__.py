"""From video files to the Parquet parts of `frame_embeddings`, on all cores or a GPU.

Reading order: encoder (images to unit rows), part (a part's videos to a table), engine (the process
that forks the workers), worker (what they do), engine_client (starting and feeding that process).
"""
