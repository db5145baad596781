"""What an LLM is asked about the classes: a file per kind with prompt, reply type, rows, rules.

Reading order: `description` (one text per class), `cooccurrence` (which classes happen together).
"""
