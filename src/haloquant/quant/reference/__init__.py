"""Slow or coarse twins of the quantizer, in plain numpy. Tests, benches and examples judge by them.

`scale_search` shares one scale among more weights than the product does, and rounds to nearest under given scales.
`losses` measures what a rounding lost. Product code must not import this package (a contract in pyproject.toml).
"""
