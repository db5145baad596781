"""The command line, by what the commands are about.

Reading order: `app` (how a command runs and ends), `options`, `build` and `kind_settings` (from
options to specs), then the commands: `chain` (whole chains), `datasets`, `knowledge`, `mining`,
`runs`, `few_shot`, `store`.

Heavy libraries are imported by the command that needs them.
"""
