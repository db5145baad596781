"""One reader per dataset; each yields the same `classes` and `videos` artifacts.

Reading order: `listing` (what a reader returns and how it becomes artifacts), then the readers.
"""
