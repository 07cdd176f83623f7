"""Kernels for the GPU, in Triton.

`launch` is the entry. `gemv` serves few tokens and takes integers from `activation_digits`; `gemm` multiplies many int8
tokens; `dequantization` writes weights for the vendor's library. `word_decoding` holds the assembly, `tuning` the
configurations. `scale_search` and `column_steps` are parts of rounding. `presence` says whether Triton is installed.
"""
