"""Kernels for the CPU, compiled by numba.

`tile_products` multiplies up to 16 tokens with packed weights, by vector code from `tile_instructions` and
`vector_operations`. `gemv` multiplies one token by AVX-512 code from `vector_instructions`, and dequantizes weights.
`decoder_parts` has the rest of a decoder block for one token. `instruction_set` names what this CPU has.
"""
