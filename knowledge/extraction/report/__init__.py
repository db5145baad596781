"""What an extraction gave.

Reading order: `report`, `ground_truth` (labels of videos), `comparison` (knowledge against them).
"""
