"""What a command prints.

Reading order: `work` (artifacts made and found), `inspect`, `plan` and `knowledge_report` (an
extraction before and after), `use_run` (a trained run on videos).
"""
