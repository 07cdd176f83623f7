"""Kernels for the CPU, compiled by numba.

`tile_products` multiplies up to 16 tokens with packed weights. Its vector code for AVX2 and NEON comes from
`tile_instructions`, which is written with the operations of `vector_operations`. `gemv` multiplies one token by AVX-512
code from `vector_instructions`, and dequantizes weights. `instruction_set` says what this CPU has.
"""
