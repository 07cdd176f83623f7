"""Slow or coarse versions of the quantizer, in plain numpy. Tests, benches and examples compare with them.

`scale_search` shares one scale among more weights than the product does, and rounds to nearest under given scales.
`losses` measures the loss of a rounding, and `moved_codes` refines one. `word_subset` finds the best words of one scale
with whole arrays. `input_sparsity` finds masks in plain loops. `layer_results` gives a layer in HALO form as the record
of a method. Product code must not import this package (a contract in pyproject.toml).
"""
