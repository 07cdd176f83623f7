"""Inputs of decode in Triton as whole numbers: three signed digits of base 256, beside a power of two for each tile.

The step is 2^-22 to 2^-21 of the largest input of its tile: exact for every bfloat16 within 2^-14 of that, while what
is smaller is rounded to a step. So a tile's sum is off by at most 2^-22 of its largest input times its absolute words.
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
    TILE_IN: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Inputs as int8 digits [tokens, digits, across, WIDE], zeros behind a tile's end, and a power of two per tile.

    x = step * (d0 + 256 d1 + 65536 d2), rounded to the nearest; with WHOLE, x is int8 and its own only digit.
    """
    a = tl.program_id(0)
    token = tl.program_id(1)
    j = tl.arange(0, BLOCK)
    here = (j < TILE_IN) & (a * TILE_IN + j < in_features)
    inputs = tl.load(x + token * in_features + a * TILE_IN + j, mask=here, other=0)
    if WHOLE:
        tl.store(planes + (token * across + a) * WIDE + j, inputs, mask=j < WIDE)
    else:
        value = inputs.to(tl.float32)
        exponents = (value.to(tl.int32, bitcast=True) >> 23) & 255
        largest = tl.maximum(
            tl.max(exponents, axis=0), 32
        )  # |x| < 2^(largest - 126); what is below 2^-94 is rounded off
        scaled = value * ((275 - tl.minimum(largest, 254)) << 23).to(tl.float32, bitcast=True)  # |.| < 2^22
        q = (scaled + 12582912.0).to(tl.int32, bitcast=True) - 0x4B400000  # 1.5 * 2^23: leaves whole numbers
        for digit in tl.static_range(3):
            low = ((q + 128) & 255) - 128
            tl.store(planes + ((token * 3 + digit) * across + a) * WIDE + j, low.to(tl.int8), mask=j < WIDE)
            q = (q - low) >> 8
        step = ((largest - 21) << 23).to(tl.float32, bitcast=True)
        tl.store(steps + token * across + a, tl.where(largest == 255, float("nan"), step))  # inf and nan are not lost
