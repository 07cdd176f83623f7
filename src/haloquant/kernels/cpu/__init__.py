"""Kernels for the CPU, compiled by numba.

`tile_products` multiplies up to 16 tokens with packed weights, by vector code from `tile_instructions` and
`vector_operations`. `gemv` multiplies one token by AVX-512 code from `vector_instructions` (float32) and
`integer_instructions` (int8), and dequantizes weights. `column_products` leaves columns out whose inputs are zero, by
code from `column_instructions`. `plain_loops` has all products without vector code. `token_products` multiplies one
token with several layers at once, which stand in the records of `stored_arrays`. `decoder_parts` has the rest of a
decoder block for one token. `instruction_set` names what this CPU has.
"""
