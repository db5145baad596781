"""One reader per dataset; each yields the same `classes` and `videos` artifacts.

Reading order: `listing` (what a reader returns and how it becomes artifacts), `list_files` and
`video_files` (what readers read with), then the readers, of which `folder` is the simplest.
"""
