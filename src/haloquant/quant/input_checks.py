"""What every door of the quantizer asks of its input, in one place, with the sentences that tests pin."""

import numpy as np

from haloquant.errors import CheckpointError, InfeasibleError, InputError
from haloquant.records import Codebook, TileMap

LARGEST_WEIGHT = 65504.0  # of float16; scales beyond it would be clipped without a word
MOST_CODES = 256  # codes are stored as bytes in memory


def check_weight(weight: np.ndarray, layer: str) -> None:
    """Refuse a weight matrix that is not a finite, non-empty matrix.

    Raises:
        CheckpointError: the weight is not [out, in], is empty, or holds NaN, infinity or more than a scale can reach.
    """
    if weight.ndim != 2 or weight.size == 0:
        raise CheckpointError(
            f"weight of {layer} must be a matrix [out, in] with at least one row and column, not of shape "
            f"{weight.shape}"
        )
    # A sum is not finite if any term is not; it may also overflow, so the slow count decides.
    if not np.isfinite(weight.sum(dtype=np.float64)):
        bad = int(weight.size - np.count_nonzero(np.isfinite(weight)))
        if bad:
            raise CheckpointError(
                f"weight of {layer} must be finite, not NaN or infinite in {bad} of {weight.size} places: the "
                "checkpoint is damaged or overflowed when it was saved"
            )
    largest = max(float(weight.max()), -float(weight.min()))
    if largest > LARGEST_WEIGHT:
        raise CheckpointError(
            f"weight of {layer} must be at most {LARGEST_WEIGHT:g} in magnitude, as scales are stored in float16, not "
            f"{largest:.4g}: the checkpoint is damaged or of a diverged run"
        )


def check_tiles(tiles: TileMap, codebooks: tuple[Codebook, ...], shape: tuple[int, int]) -> None:
    """Refuse a tile map that does not fit the weight or names a class that does not exist.

    Raises:
        InputError: grid, map and weight disagree, or a codebook is not ascending with 0 in it.
        InfeasibleError: a codebook holds nothing beside 0.
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
        raise InputError(f"codebooks of {tiles.layer} must be at least one, not none")
    highest = int(tiles.codebook.max())
    if highest >= len(codebooks):
        raise InputError(f"class map of {tiles.layer} must name classes below {len(codebooks)}, not {highest}")
    for codebook in codebooks:
        check_codebook(codebook)


def check_codebook(codebook: Codebook) -> None:
    """Refuse a codebook that is not ascending, lacks 0 or holds nothing else.

    Raises:
        InputError: the values are not strictly ascending with 0 among them, or are too many.
        InfeasibleError: 0 is the only value.
    """
    values = codebook.values
    if values.size > MOST_CODES:
        raise InputError(f"codebook {codebook.name} must hold at most {MOST_CODES} values, not {values.size}")
    if values.size == 0 or np.any(np.diff(values) <= 0) or 0 not in values:
        raise InputError(f"codebook {codebook.name} must be ascending values with 0 among them, not {values.tolist()}")
    if values.size == 1:
        raise InfeasibleError(
            f"codebook {codebook.name} must hold a value beside 0: at {codebook.point.frequency_hz:.4g} Hz no other "
            "weight meets timing; a lower frequency or a smaller margin would do"
        )
