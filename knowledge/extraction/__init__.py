"""Questions to an LLM, its replies, and the knowledge in them.

Reading order: `calls` (the job), `question` and `kinds` (what is asked), `registry` (kinds by
name), `asking` (until all is answered), `replies` (read, never repaired), `parse` (rows), `plan`
(the cost before), `recorded` and `replay` (replies without an LLM), `cooccurrence`, `report`.
"""
