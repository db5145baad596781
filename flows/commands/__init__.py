"""The command line, by what the commands are about.

Reading order: `app` (how a command runs and ends), `command` (one whose options are fields of a
model), `fields` (the option of a field), `options` (those that several commands share), `values`
(written in forms of their own), then the commands: `chain` (whole chains), `datasets`, `knowledge`,
`mining`, `runs`, `store`, `video_files`.

Heavy libraries are imported by the command that needs them, after what it was given is checked.
"""
