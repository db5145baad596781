"""An LLM endpoint, and what it costs: nothing paid for is lost.

Reading order: `messages` (request, reply, the protocol of a model), `client` (any OpenAI-compatible
endpoint) with `connections`, `ledger` (one durable row per attempt), `budget` and `limits` (what
may be sent, and how fast), `options` (the settings of all that), `sender` (one request to an
answer, through all of these), `batch` (many at once).
"""
