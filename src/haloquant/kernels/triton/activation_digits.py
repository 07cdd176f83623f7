"""Convert the inputs of decode to integers, in Triton: three signed digits in base 256, and a power of two per tile.

The power of two is the step. It is 2^-22 to 2^-21 of the largest input of the tile. Every bfloat16 of at least 2^-14
times the largest input is represented exactly; smaller inputs are rounded to a multiple of the step. So the error of a
tile's sum is at most 2^-22 times its largest input times the sum of its absolute words.
"""

# Triton's language is not Python's, and has no types:
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def planes_kernel(
    x, planes, steps, in_features, across,
    TILE_IN: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr, INT8: tl.constexpr,
):  # fmt: skip
    """Write int8 digits [tokens, digits, across, WIDE], zeros after a tile's end, and one step per token and tile.

    x = step * (d0 + 256 d1 + 65536 d2), rounded to nearest. With INT8, x is int8 and is its only digit.
    """
    a = tl.program_id(0)
    token = tl.program_id(1)
    j = tl.arange(0, BLOCK)
    here = (j < TILE_IN) & (a * TILE_IN + j < in_features)
    inputs = tl.load(x + token * in_features + a * TILE_IN + j, mask=here, other=0)
    if INT8:
        tl.store(planes + (token * across + a) * WIDE + j, inputs, mask=j < WIDE)
    else:
        value = inputs.to(tl.float32)
        exponents = (value.to(tl.int32, bitcast=True) >> 23) & 255
        # |x| < 2^(largest - 126). Below an exponent of 32 the step stays the same, so very small inputs become 0.
        largest = tl.maximum(tl.max(exponents, axis=0), 32)
        scaled = value * ((275 - tl.minimum(largest, 254)) << 23).to(tl.float32, bitcast=True)  # |.| < 2^22
        q = (scaled + 12582912.0).to(tl.int32, bitcast=True) - 0x4B400000  # adding 1.5 * 2^23 rounds to an integer
        for digit in tl.static_range(3):
            low = ((q + 128) & 255) - 128
            tl.store(planes + ((token * 3 + digit) * across + a) * WIDE + j, low.to(tl.int8), mask=j < WIDE)
            q = (q - low) >> 8
        step = ((largest - 21) << 23).to(tl.float32, bitcast=True)
        tl.store(
            steps + token * across + a, tl.where(largest == 255, float("nan"), step)
        )  # infinity and NaN make the tile NaN
