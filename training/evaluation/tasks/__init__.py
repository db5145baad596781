"""What is predicted of a video, and how that is measured; a module for each, found by name.

Reading order: `single_label` (one class), `multi_label` (any number of them).
"""
