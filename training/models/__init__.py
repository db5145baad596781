"""The methods, a folder each, found by its name: config, model, recipes.

Reading order: `method` (what the rest of training asks a model), `build` (from config to model),
`weights` (as bytes), `recipe` and `registry` (named runs).
"""
