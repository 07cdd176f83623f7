"""The search of one scale per (row, tile) in Triton.

A program takes one tile of one row, holds its weights in registers, and tries the scales one after another.
`kernels.rounding.scale_search` has the same search in plain torch and launches this.
"""

# Triton's language is not Python's, and has no types:
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def search_kernel(
    weight, importance, classes, first, middles, steps, reach, ratios, trials, signs, sizes, zeros, scale, codes,
    inputs, across, kinds, tile_in, most_trials, refits, largest, smallest,
    COLS: tl.constexpr, LIMITS: tl.constexpr, TWO_SIDED: tl.constexpr, SHARED: tl.constexpr,
):  # fmt: skip
    """Find the scale of one tile of one row, and the codes of the nearest words.

    Args (pointers): `weight` float32 [rows, inputs]; `importance` as `weight`, or one row if SHARED; `classes` int64
    [rows, across]; `first` float32 [2, kinds], the first word of each class, then of the mirrored ones; `middles`, the
    middles between words padded with infinity, and `steps`, the distances between words padded with 0, float32
    [2, kinds, LIMITS]; `reach` float32, `trials`, `signs`, `sizes` int64 and `zeros` uint8 [kinds]; `ratios` float32
    [kinds, most_trials]. Results: `scale` float32 [rows, across] and `codes` uint8 [rows, inputs]. `refits` is how
    often the best scale is fitted again; `largest` and `smallest` are positive float16. COLS, a power of two, is at
    least the inputs of a tile.
    """
    place = tl.program_id(0).to(tl.int64)
    j = (place % across) * tile_in + tl.arange(0, COLS)
    here = (tl.arange(0, COLS) < tile_in) & (j < inputs)
    at = (place // across) * inputs + j
    values = tl.load(weight + at, mask=here, other=0.0)
    emphasis = tl.load(importance + (j if SHARED else at), mask=here, other=0.0)
    kind = tl.load(classes + place)
    own_trials, own_signs = tl.load(trials + kind), tl.load(signs + kind)
    ratios += kind * most_trials
    top = tl.max(tl.abs(values), 0)
    unit = tl.math.div_rn(top, tl.load(reach + kind))
    best = unit * tl.load(ratios + own_trials - 1)
    gain = -1.0
    side = 0
    chosen = 0
    for trial in range(0, most_trials, 2):  # first every second trial of each side
        wide = unit * tl.load(ratios + trial)
        for sign in tl.static_range(2 if TWO_SIDED else 1):
            fitted, gained = _fit(values, emphasis, kind + sign * kinds, first, middles, steps, wide, LIMITS)
            better = (trial < own_trials) & (sign < own_signs) & (gained > gain)
            gain = tl.where(better, gained, gain)
            best = tl.where(better, fitted, best)
            side = tl.where(better, sign, side)
            chosen = tl.where(better, trial, chosen)
    table = kind + side * kinds
    for move in range(2):  # then the two neighbours of the best trial
        beside = chosen + 1 - 2 * move
        usable = (beside >= 0) & (beside < own_trials)
        wide = unit * tl.load(ratios + tl.where(usable, beside, 0))
        fitted, gained = _fit(values, emphasis, table, first, middles, steps, wide, LIMITS)
        better = usable & (gained > gain)
        gain = tl.where(better, gained, gain)
        best = tl.where(better, fitted, best)
    for _ in range(refits):
        fitted, gained = _fit(values, emphasis, table, first, middles, steps, best, LIMITS)
        best = tl.where(gained >= 0, fitted, best)
    best = tl.minimum(best, largest).to(tl.float16).to(tl.float32)
    best = tl.where(best == 0, smallest, best)
    below = tl.zeros((COLS,), tl.int32)
    for k in range(LIMITS):
        below += (values > tl.load(middles + table * LIMITS + k) * best).to(tl.int32)
    below = tl.where(side == 1, tl.load(sizes + kind).to(tl.int32) - 1 - below, below)
    below = tl.where(top == 0, tl.load(zeros + kind).to(tl.int32), below)
    tl.store(scale + place, tl.where(top == 0, 0.0, tl.where(side == 1, -best, best)))
    tl.store(codes + at, below.to(tl.uint8), mask=here)


@triton.jit
@no_type_check
def _fit(values, emphasis, table, first, middles, steps, scale, LIMITS: tl.constexpr):
    """Return the scale fitted to the nearest words c, and what it gains, <w,c>^2 / <c,c>; -2 if it is not positive.

    The sums are weighted by importance and added in float64.
    """
    nearest = tl.zeros_like(values) + tl.load(first + table)
    for k in range(LIMITS):  # words are whole numbers, so these sums are exact
        limit = tl.load(middles + table * LIMITS + k) * scale
        nearest += tl.where(values > limit, tl.load(steps + table * LIMITS + k), 0.0)
    product = emphasis * nearest
    cross = tl.sum((product * values).to(tl.float64), 0).to(tl.float32)
    square = tl.sum((product * nearest).to(tl.float64), 0).to(tl.float32)
    fitted = tl.math.div_rn(cross, square)
    return fitted, tl.where((square > 0) & (cross > 0), cross * fitted, -2.0)
