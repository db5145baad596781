"""What a command prints.

Reading order: `work` (artifacts made and found) with `next_steps` (what follows), `inspect` with
`cells` and `difference` (facts of `artifacts.views` as text), `plan` and `knowledge_report` (an
extraction before and after), `use_run` (a trained run on videos), `video_files` (frozen CLIP on
them), `few_shot` (episodes), `comparison` (several runs).
"""
