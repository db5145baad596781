"""The methods, a folder each, found by its name: config, model, recipes.

Reading order: `method` (what the rest of training asks a model), `fitted` (one without gradient
steps), `build` (from config to model), `weights` (as bytes), `recipe` and `registry` (named runs).
"""
