"""From a dataset's lists and files to `classes` and `videos`, through one reader per dataset.

Reading order: `registration` (the job), `spec` (which dataset), `listing` (what a reader returns),
`readers` (found by name), `list_files`, `list_lines` and `video_files` (what they read with),
`clip_groups` (no video in two splits), `class_lists` and `class_names` (bundled lists, spelling,
base and novel), `class_files` (what a user writes for frozen CLIP alone).
"""
