"""Checks of the inputs of the quantizer. Each error names what is wrong and how to correct it."""

import numpy as np

from haloquant.errors import CheckpointError, InfeasibleError, InputError
from haloquant.quant import float16
from haloquant.records import Codebook, TileMap

_MOST_CODES = 256  # a code is one byte in memory


def check_weight(weight: np.ndarray, layer: str) -> None:
    """Check that a weight is a finite, non-empty matrix whose scales fit into float16.

    Raises:
        CheckpointError: The weight is not [out, in], is empty, or holds NaN, infinity or a magnitude above 65504.
    """
    if weight.ndim != 2 or weight.size == 0:
        raise CheckpointError(
            f"weight of {layer} must be a matrix [out, in] with at least one row and column, not of shape "
            f"{weight.shape}"
        )
    # The sum is not finite if any term is not finite. It may also overflow, so the slower count decides.
    if not np.isfinite(weight.sum(dtype=np.float64)):
        bad = int(weight.size - np.count_nonzero(np.isfinite(weight)))
        if bad:
            raise CheckpointError(
                f"weight of {layer} must be finite, not NaN or infinite in {bad} of {weight.size} places: the "
                "checkpoint is damaged or overflowed when it was saved"
            )
    largest = max(float(weight.max()), -float(weight.min()))
    if largest > float16.LARGEST:
        raise CheckpointError(
            f"weight of {layer} must be at most {float16.LARGEST:g} in magnitude, as scales are stored in float16, not "
            f"{largest:.4g}: the checkpoint is damaged or of a diverged run"
        )


def check_tiles(tiles: TileMap, codebooks: tuple[Codebook, ...], shape: tuple[int, int]) -> None:
    """Check that a tile map fits the weight's shape and that every class it names has a codebook.

    Raises:
        InputError: Grid, class map and weight disagree, or a codebook is not ascending with 0 among its values.
        InfeasibleError: A codebook holds no value except 0.
    """
    grid = tiles.grid
    if (grid.out_features, grid.in_features) != shape:
        raise InputError(
            f"tile grid of {tiles.layer} must be for a weight of shape {shape}, not "
            f"{(grid.out_features, grid.in_features)}"
        )
    if grid.tile_out < 1 or grid.tile_in < 1:
        raise InputError(f"tile sizes of {tiles.layer} must be at least 1, not {grid.tile_out} x {grid.tile_in}")
    if tiles.codebook.shape != (grid.down, grid.across):
        raise InputError(
            f"class map of {tiles.layer} must be of shape {(grid.down, grid.across)}, not {tiles.codebook.shape}"
        )
    if not codebooks:
        raise InputError(f"layer {tiles.layer} needs at least one codebook")
    highest = int(tiles.codebook.max())
    if highest >= len(codebooks):
        raise InputError(f"class map of {tiles.layer} must name classes below {len(codebooks)}, not {highest}")
    for codebook in codebooks:
        check_codebook(codebook)


def check_codebook(codebook: Codebook) -> None:
    """Check that the values of a codebook ascend and hold 0 and at least one other value.

    Raises:
        InputError: The values are not strictly ascending with 0 among them, or there are more than 256.
        InfeasibleError: 0 is the only value.
    """
    values = codebook.values
    if values.size > _MOST_CODES:
        raise InputError(f"codebook {codebook.name} must hold at most {_MOST_CODES} values, not {values.size}")
    if values.size == 0 or np.any(np.diff(values) <= 0) or 0 not in values:
        raise InputError(f"codebook {codebook.name} must be ascending values with 0 among them, not {values.tolist()}")
    if values.size == 1:
        raise InfeasibleError(
            f"codebook {codebook.name} must hold a value other than 0: at {codebook.point.frequency_hz:.4g} Hz no "
            "other weight meets timing; choose a lower frequency or a smaller margin"
        )


def check_setting(name: str, value: float | int, low: float | int, high: float | int, layer: str) -> None:
    """Check that a setting is within low..high.

    Raises:
        InputError: It is outside, or is not a number.
    """
    if not low <= value <= high:
        raise InputError(f"layer '{layer}': {name} must be between {low:g} and {high:g}, not {value:g}")


def check_matrix(matrix: np.ndarray, shape: tuple[int, int], what: str, layer: str) -> None:
    """Check the shape and the finiteness of a calibrated matrix.

    Args:
        matrix: the matrix.
        shape: shape that the layer needs.
        what: name of the matrix in the error, such as "Hessian".
        layer: name of the layer in the error.

    Raises:
        InputError: The shape differs, or a value is NaN or infinite.
    """
    if matrix.shape != shape:
        raise InputError(
            f"layer '{layer}': the {what} must be {shape[0]} x {shape[1]}, not {' x '.join(map(str, matrix.shape))}; "
            "the statistics belong to another layer"
        )
    if not np.isfinite(matrix.sum(dtype=np.float64)):
        raise InputError(f"layer '{layer}': the {what} must be finite, not NaN or infinite; calibrate in float32")


def usable_importance(values: np.ndarray, layer: str) -> np.ndarray:
    """Return importance that is finite, at least 0, and not 0 everywhere.

    Negative values come from rounding and become 0. If no value is positive, every value becomes 1.

    Raises:
        InputError: A value is NaN or infinite.
    """
    if not np.isfinite(values.sum(dtype=np.float64)):
        raise InputError(
            f"statistics of {layer} must be finite, not NaN or infinite: calibrate again with another text or in "
            "float32"
        )
    if not np.any(values > 0):
        return np.ones(values.shape, np.float32)
    return np.ascontiguousarray(np.maximum(values, 0), dtype=np.float32)
