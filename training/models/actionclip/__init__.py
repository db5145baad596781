"""ActionCLIP.

Reading order: `config`, `model`, `heads` (from frames to a clip), `prompts`, `recipes`.
"""
