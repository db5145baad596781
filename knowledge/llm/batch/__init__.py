"""The Batch API.

Reading order: `batch` (the life of a batch), `api` (the endpoint's calls), `held` (what open ones
hold).
"""
