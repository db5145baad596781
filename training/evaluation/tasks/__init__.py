"""What is predicted of a video, and how that is measured; a module for each, found by name.

Reading order: `single_label` (one class), `multi_label` (any number of them), `few_shot` (a class
of an episode, known by a few videos; asked of any run, whatever the task of its method).
"""
