"""Kernels for the CPU, compiled by numba.

`gemv` multiplies one token with packed weights and dequantizes them; `vector_instructions` provides its AVX-512 code.
"""
