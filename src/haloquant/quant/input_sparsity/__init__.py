"""Inputs of layers that a token does without: scores and thresholds, and how sparsity is divided among layers.

`scores` holds the masks of one layer, `levels` the choice of a sparsity for every layer.
"""
