"""One reader per dataset; each yields the same `classes` and `videos` artifacts.

Reading order: `registration` (the job), `listing` (what a reader returns), `readers` (of which
`folder` is the simplest), `list_files` and `video_files` (what they read with), `clip_groups` (no
video in two splits), `class_lists` and `class_names` (bundled lists, spelling, base and novel).
"""
