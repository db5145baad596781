"""Every attempt at a request, durable before and after it is sent.

Reading order: `ledger`, `group_commit` (many rows in one write), `file` (SQLite).
"""
