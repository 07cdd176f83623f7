"""Loops over the columns of one block in Triton: rounding with compensation, and moves of codes in a refined tile.

Rows do not depend on each other. A program takes a band of rows, holds their block in registers, and goes through the
columns one after another. `kernels.rounding.column_steps` has the same loops in plain torch and launches these.
"""

# Triton's language is not Python's, and has no types:
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def round_columns_kernel(
    original, target, unit, places, scale, classes, words, sizes, zeros, kept, step, codes, errors,
    rows, width, across,
    COLS: tl.constexpr, MOST: tl.constexpr, SPARSE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Round a block [rows, width] column by column; each error changes the targets of the block's later columns.

    Args (pointers): `original`, `target` float32 [rows, width]; `unit` float32 [width, width]; `places` int64 [width],
    the tile of each column; `scale` float32 and `classes` int64 [rows, across]; `words` float32 [classes, MOST];
    `sizes` int64 and `zeros` uint8 [classes]; `kept` uint8 [rows, width] (1 is sparse, 2 pruned to the word 0) and
    `step` float32 [rows], read if SPARSE. Results: `codes` uint8 and `errors` float32 [rows, width]. COLS and MOST are
    powers of two.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < rows
    j = tl.arange(0, COLS)[None, :]
    k = tl.arange(0, MOST)[None, :]
    at = row[:, None] * width + j
    here = inside[:, None] & (j < width)
    before = tl.load(original + at, mask=here, other=0.0)
    pending = tl.load(target + at, mask=here, other=0.0)
    found = tl.zeros((ROWS, COLS), tl.int32)
    misses = tl.zeros((ROWS, COLS), tl.float32)
    steps = tl.load(step + row, mask=inside, other=0.0)
    for i in range(width):
        own = j == i
        wanted = tl.sum(tl.where(own, pending, 0.0), 1)
        given = tl.sum(tl.where(own, before, 0.0), 1)
        tile = row * across + tl.load(places + i)
        factor = tl.load(scale + tile, mask=inside, other=0.0)
        kind = tl.load(classes + tile, mask=inside, other=0)
        size = tl.load(sizes + kind)
        book = words + kind[:, None] * MOST + k
        lower = tl.load(book) * factor[:, None]
        upper = tl.load(book + 1, mask=k < size[:, None] - 1, other=0.0) * factor[:, None]
        above = (k < size[:, None] - 1) & (wanted[:, None] > 0.5 * (lower + upper))
        code = tl.sum(above.to(tl.int32), 1)
        code = tl.where(factor < 0, size.to(tl.int32) - 1 - code, code)
        zero = tl.load(zeros + kind).to(tl.int32)
        code = tl.where(factor == 0, zero, code)
        value = tl.load(words + kind * MOST + code) * factor
        if SPARSE:
            mark = tl.load(kept + row * width + i, mask=inside, other=0).to(tl.int32)
            keeps = mark == 1
            ratio = tl.math.div_rn(wanted, tl.where(steps > 0, steps, 1.0))
            ratio = tl.minimum(tl.maximum(ratio, -127.0), 127.0)
            whole = (ratio + 12582912.0) - 12582912.0  # 1.5 x 2^23: the sum has no bits for a fraction
            value = tl.where(keeps, tl.where(steps > 0, whole * steps, wanted), value)
            value = tl.where(mark == 2, 0.0, value)
            code = tl.where(mark > 0, zero, code)
        error = given - value
        found = tl.where(own, code[:, None], found)
        misses = tl.where(own, error[:, None], misses)
        share = tl.load(unit + i * width + j, mask=(j > i) & (j < width), other=0.0)
        pending += error[:, None] * share
    tl.store(codes + at, found.to(tl.uint8), mask=here)
    tl.store(errors + at, misses, mask=here)


@triton.jit
@no_type_check
def move_codes_kernel(
    slope, hessian, scale, classes, words, sizes, kept, step, active, values, codes, moved,
    rows, width,
    COLS: tl.constexpr, MOST: tl.constexpr, SPARSE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Move each weight of one column of tiles [rows, width] once to the word of least loss, in place.

    Args (pointers): `slope` float32 [rows, width], (w - q) H at these columns; `hessian` float32 [width, width];
    `scale` float32 and `classes` int64 [rows]; `words` float32 [classes, MOST]; `sizes` int64 [classes]; `kept` uint8
    [rows, width] as above and `step` float32 [rows], read if SPARSE; `active` bool [rows]: other rows stay; `values`
    float32 and `codes` uint8 [rows, width]; `moved` bool [rows], whether any weight moved. COLS and MOST are powers of
    two.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < rows
    j = tl.arange(0, COLS)[None, :]
    k = tl.arange(0, MOST)[None, :]
    at = row[:, None] * width + j
    here = inside[:, None] & (j < width)
    pull = tl.load(slope + at, mask=here, other=0.0)
    held = tl.load(values + at, mask=here, other=0.0)
    found = tl.load(codes + at, mask=here, other=0).to(tl.int32)
    factor = tl.load(scale + row, mask=inside, other=0.0)
    kind = tl.load(classes + row, mask=inside, other=0)
    size = tl.load(sizes + kind)
    book = words + kind[:, None] * MOST + k
    between = k < size[:, None] - 1
    middles = 0.5 * (tl.load(book) + tl.load(book + 1, mask=between, other=0.0))
    steps = tl.load(step + row, mask=inside, other=0.0)
    runs = tl.load(active + row, mask=inside, other=0) != 0
    changed = tl.zeros((ROWS,), tl.int32)
    for i in range(width):
        own = j == i
        stiffness = tl.load(hessian + i * width + i)
        gradient = tl.sum(tl.where(own, pull, 0.0), 1)
        value = tl.sum(tl.where(own, held, 0.0), 1)
        old = tl.sum(tl.where(own, found, 0), 1)
        wanted = value + tl.math.div_rn(gradient, stiffness + tl.zeros_like(gradient))
        place = tl.math.div_rn(wanted, tl.where(factor == 0, 1.0, factor))
        code = tl.sum((between & (place[:, None] > middles)).to(tl.int32), 1)
        goal = tl.load(words + kind * MOST + code) * factor
        goes = runs & (factor != 0) & (code != old)
        if SPARSE:
            mark = tl.load(kept + row * width + i, mask=inside, other=0).to(tl.int32)
            keeps = mark > 0
            ratio = tl.math.div_rn(wanted, tl.where(steps == 0, 1.0, steps))
            ratio = tl.minimum(tl.maximum(ratio, -127.0), 127.0)
            whole = (ratio + 12582912.0) - 12582912.0
            goal = tl.where(keeps, whole * steps, goal)
            goes = tl.where(keeps, runs & (steps != 0) & (mark == 1), goes)
            code = tl.where(keeps, old, code)
        delta = goal - value
        gain = delta * (delta * stiffness - 2.0 * gradient)
        goes = goes & (gain < -1e-6 * stiffness * delta * delta)
        delta = tl.where(goes, delta, 0.0)
        held = tl.where(own & goes[:, None], goal[:, None], held)
        found = tl.where(own & goes[:, None], code[:, None], found)
        changed = changed | goes.to(tl.int32)
        share = tl.load(hessian + i * width + j, mask=j < width, other=0.0)
        pull -= delta[:, None] * share
    tl.store(slope + at, pull, mask=here)
    tl.store(values + at, held, mask=here)
    tl.store(codes + at, found.to(tl.uint8), mask=here)
    tl.store(moved + row, changed != 0, mask=inside)
