"""What flows are given: pydantic models, from whose fields Prefect's forms and options are made.

Nothing heavy is imported here, so that help and errors of a command come at once.

Reading order: `names`, `runner`, then the flows' own, in the order of the chain: `extract`, `mine`,
`features` (in place of mining), `train`, `evaluate`, `pipeline`; and `video_files` (no flow).
"""
