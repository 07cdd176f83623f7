"""What attention says of tokens while a model runs.

`watch` shows queries and keys, `token_importance` scores tokens by them, and `comparison` compares two models by them.
"""
