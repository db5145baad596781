"""Asking an LLM: what a request and a reply are, who answers, and how nothing paid for is lost.

Reading order: `messages` (request, reply, the protocol of a model), `client` (any OpenAI-compatible
endpoint), `recorded` (the bundled replies), `ledger` (one durable row per attempt).
"""
