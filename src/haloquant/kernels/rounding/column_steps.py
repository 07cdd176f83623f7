"""Loops over the columns of one block: a Triton kernel on a GPU, the same loop in plain torch elsewhere.

Both round a column of all rows, then change what the later columns of the block aim at.
"""

# A Triton kernel is launched with options that its signature does not list:
# pyright: reportCallIssue=false

from dataclasses import dataclass
from typing import Any

import torch

from haloquant.kernels.rounding.word_tensors import WordTensors, power_of_two
from haloquant.kernels.triton.presence import has_triton
from haloquant.quant.rounding.refinement import PRUNED

BAND = 16  # most rows of a Triton program
BAND_WEIGHTS = BAND * 128  # weights that a program holds in registers: wider blocks have fewer rows
WARPS = 4


@dataclass(frozen=True)
class SparsePart:
    """Which weights are not rounded to words: sparse and pruned ones.

    Attributes:
        kept: 1 at a sparse weight, `PRUNED` at one that has the word 0, else 0; uint8 [rows, columns].
        step: size of a step of the 8 bits of sparse weights, float32 [rows].
    """

    kept: torch.Tensor
    step: torch.Tensor

    def columns(self, chosen: torch.Tensor | slice) -> "SparsePart":
        """Return some columns."""
        return SparsePart(self.kept[:, chosen].contiguous(), self.step)


def round_columns(
    original: torch.Tensor,
    target: torch.Tensor,
    unit: torch.Tensor,
    places: torch.Tensor,
    scale: torch.Tensor,
    classes: torch.Tensor,
    words: WordTensors,
    sparse: SparsePart | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round a block column by column; each column compensates the errors of those before it.

    Args:
        original: weights before any rounding, float32 [rows, width].
        target: what the columns aim at, from the blocks before, float32 [rows, width].
        unit: block of the factor with ones on its diagonal, float32 [width, width].
        places: tile of each column, int64 [width].
        scale: float32 [rows, across].
        classes: int64 [rows, across].
        words: the codebooks.
        sparse: the sparse and pruned weights of the block, None if there are none.

    Returns:
        Codes, uint8 [rows, width], where these have the code of 0; errors, original minus rounded, float32.
    """
    run = launch_round_columns if use_triton(original.device) else plain_round_columns
    return run(original, target, unit, places, scale, classes, words, sparse)


def plain_round_columns(
    original: torch.Tensor,
    target: torch.Tensor,
    unit: torch.Tensor,
    places: torch.Tensor,
    scale: torch.Tensor,
    classes: torch.Tensor,
    words: WordTensors,
    sparse: SparsePart | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do the same as `round_columns` in plain torch."""
    codes, errors = torch.empty_like(original, dtype=torch.uint8), torch.empty_like(original)
    pending, used = target.clone(), torch.arange(words.most - 1, device=original.device)
    for i in range(original.shape[1]):
        wanted, factor, kind = pending[:, i], scale[:, places[i]], classes[:, places[i]]
        levels = words.words[kind] * factor[:, None]
        middles = 0.5 * (levels[:, :-1] + levels[:, 1:])
        last = words.sizes[kind] - 1
        code = ((wanted[:, None] > middles) & (used < last[:, None])).sum(1)
        code = torch.where(factor < 0, last - code, code)
        zero = words.zeros[kind].long()
        code = torch.where(factor == 0, zero, code)
        value = words.words[kind, code] * factor
        if sparse is not None:
            mark = sparse.kept[:, i]
            kept = torch.where(sparse.step > 0, _in_steps(wanted, sparse.step), wanted)
            value = torch.where(mark == PRUNED, 0.0, torch.where(mark == 1, kept, value))
            code = torch.where(mark > 0, zero, code)
        error = original[:, i] - value
        codes[:, i], errors[:, i] = code.to(torch.uint8), error
        pending[:, i + 1 :] += error[:, None] * unit[i, i + 1 :]
    return codes, errors


def move_codes(
    slope: torch.Tensor,
    hessian: torch.Tensor,
    scale: torch.Tensor,
    classes: torch.Tensor,
    words: WordTensors,
    sparse: SparsePart | None,
    active: torch.Tensor,
    values: torch.Tensor,
    codes: torch.Tensor,
) -> torch.Tensor:
    """Move each weight of one column of tiles once to the word of least loss; `slope`, `values`, `codes` are changed.

    Args:
        slope: (w - q) H at these columns, float32 [rows, width].
        hessian: the damped Hessian of these columns, float32 [width, width].
        scale: float32 [rows].
        classes: int64 [rows].
        words: the codebooks.
        sparse: the sparse and pruned weights of these columns, None if there are none.
        active: rows that take part, bool [rows].
        values: rounded weights, float32 [rows, width].
        codes: uint8 [rows, width].

    Returns:
        Whether any weight of a row moved, bool [rows].
    """
    run = launch_move_codes if use_triton(slope.device) else plain_move_codes
    return run(slope, hessian, scale, classes, words, sparse, active, values, codes)


def plain_move_codes(
    slope: torch.Tensor,
    hessian: torch.Tensor,
    scale: torch.Tensor,
    classes: torch.Tensor,
    words: WordTensors,
    sparse: SparsePart | None,
    active: torch.Tensor,
    values: torch.Tensor,
    codes: torch.Tensor,
) -> torch.Tensor:
    """Do the same as `move_codes` in plain torch."""
    table = words.words[classes]
    middles = 0.5 * (table[:, :-1] + table[:, 1:])
    between = torch.arange(words.most - 1, device=slope.device) < words.sizes[classes][:, None] - 1
    safe, moved = torch.where(scale == 0, 1.0, scale), torch.zeros_like(active)
    for i in range(slope.shape[1]):
        stiffness, gradient, value = hessian[i, i], slope[:, i], values[:, i]
        wanted = value + gradient / stiffness
        code = (((wanted / safe)[:, None] > middles) & between).sum(1)
        goal = words.words[classes, code] * scale
        goes = active & (scale != 0) & (code != codes[:, i])
        if sparse is not None:
            mark = sparse.kept[:, i]
            keeps = mark > 0
            goal = torch.where(keeps, _in_steps(wanted, sparse.step), goal)
            goes = torch.where(keeps, active & (sparse.step != 0) & (mark == 1), goes)
            code = torch.where(keeps, codes[:, i], code)
        delta = goal - value
        goes &= delta * (delta * stiffness - 2.0 * gradient) < -1e-6 * stiffness * delta * delta
        moved |= goes
        values[:, i] = torch.where(goes, goal, value)
        codes[:, i] = torch.where(goes, code.to(torch.uint8), codes[:, i])
        slope -= torch.where(goes, delta, 0.0)[:, None] * hessian[i]
    return moved


def use_triton(device: torch.device) -> bool:
    """Return whether the loops run in Triton: on a GPU, if Triton is installed."""
    return device.type == "cuda" and has_triton()


def launch_round_columns(
    original: torch.Tensor,
    target: torch.Tensor,
    unit: torch.Tensor,
    places: torch.Tensor,
    scale: torch.Tensor,
    classes: torch.Tensor,
    words: WordTensors,
    sparse: SparsePart | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do the same as `round_columns` with the Triton kernel."""
    from haloquant.kernels.triton.column_steps import round_columns_kernel  # imports Triton

    (rows, width), given = original.shape, sparse or _no_sparse(original)
    codes, errors = torch.empty_like(original, dtype=torch.uint8), torch.empty_like(original)
    shape = _shape(width, words, sparse)
    with torch.cuda.device_of(original):  # Triton launches on the current device
        round_columns_kernel[(-(-rows // shape["ROWS"]),)](
            original, target, unit, places, scale, classes, _padded(words.words), words.sizes, words.zeros,
            given.kept, given.step, codes, errors, rows, width, scale.shape[1], num_warps=WARPS, **shape,
        )  # fmt: skip
    return codes, errors


def launch_move_codes(
    slope: torch.Tensor,
    hessian: torch.Tensor,
    scale: torch.Tensor,
    classes: torch.Tensor,
    words: WordTensors,
    sparse: SparsePart | None,
    active: torch.Tensor,
    values: torch.Tensor,
    codes: torch.Tensor,
) -> torch.Tensor:
    """Do the same as `move_codes` with the Triton kernel."""
    from haloquant.kernels.triton.column_steps import move_codes_kernel  # imports Triton

    (rows, width), given, moved = slope.shape, sparse or _no_sparse(slope), torch.zeros_like(active)
    shape = _shape(width, words, sparse)
    with torch.cuda.device_of(slope):
        move_codes_kernel[(-(-rows // shape["ROWS"]),)](
            slope, hessian, scale, classes, _padded(words.words), words.sizes, given.kept, given.step, active, values,
            codes, moved, rows, width, num_warps=WARPS, **shape,
        )  # fmt: skip
    return moved


def _shape(width: int, words: WordTensors, sparse: SparsePart | None) -> dict[str, Any]:
    """Return the compile-time arguments of both kernels."""
    cols = power_of_two(width)
    band = max(1, min(BAND, BAND_WEIGHTS // cols))
    return {"COLS": cols, "MOST": power_of_two(words.most), "SPARSE": sparse is not None, "ROWS": band}


def _padded(table: torch.Tensor) -> torch.Tensor:
    """Return the words padded with 0 to a power of two."""
    return torch.nn.functional.pad(table, (0, power_of_two(table.shape[1]) - table.shape[1])).contiguous()


def _no_sparse(block: torch.Tensor) -> SparsePart:
    """Return what stands in for sparse weights in a kernel that does not read which they are."""
    return SparsePart(
        torch.zeros(1, 1, dtype=torch.uint8, device=block.device), torch.zeros(block.shape[0], device=block.device)
    )


def _in_steps(wanted: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Return the nearest of -127..127 steps; 0 where a step is 0."""
    return (wanted / torch.where(step == 0, 1.0, step)).clamp(-127, 127).round() * step
