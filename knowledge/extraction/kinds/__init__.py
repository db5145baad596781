"""What an LLM is asked about the classes: a file per kind with prompt, reply type, rows, rules.

Reading order: `description` (texts of a class), `anatomy` (its phases), `cooccurrence` (which
classes happen together). A kind is found by its file's name; see `knowledge.extraction.registry`.
"""
