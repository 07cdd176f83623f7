"""The mask of a layer's inputs in the packed format: three named arrays, which `packing` lists."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float16, Float32

from haloquant.errors import FormatError
from haloquant.quant.input_sparsity.scores import InputMask

THRESHOLD, NORM, SPARSITY = MASK_TENSORS = ("input_threshold", "input_norm", "input_sparsity")


def mask_tensors(in_features: int) -> tuple[tuple[str, type[np.generic], tuple[int, ...]], ...]:
    """Return the name, the type and the shape of each array."""
    return (THRESHOLD, np.float32, (1,)), (NORM, np.float16, (in_features,)), (SPARSITY, np.float32, (1,))


def pack_mask(mask: InputMask) -> dict[str, np.ndarray]:
    """Return the named arrays of a mask."""
    return {
        THRESHOLD: np.array([mask.threshold], np.float32),
        NORM: mask.norm,
        SPARSITY: np.array([mask.sparsity], np.float32),
    }


def unpack_mask(tensors: Mapping[str, np.ndarray]) -> InputMask | None:
    """Return the mask that a layer's arrays hold, or None. The arrays are checked already."""
    if THRESHOLD not in tensors:
        return None
    return InputMask(tensors[NORM], float(tensors[THRESHOLD][0]), float(tensors[SPARSITY][0]))


def check_mask(
    layer: str,
    threshold: Float32[np.ndarray, "1"],
    norm: Float16[np.ndarray, " in"],
    sparsity: Float32[np.ndarray, "1"],
) -> None:
    """Refuse the arrays of a mask that `pack_mask` cannot have written.

    Raises:
        FormatError: A value is out of range.
    """
    share = float(sparsity[0])
    if not (0 <= float(threshold[0]) < np.inf and 0 < share <= 1 and bool(np.all((norm >= 0) & (norm <= 1)))):
        raise FormatError(
            f"{THRESHOLD} of {layer} must be a finite score, {SPARSITY} a share above 0, and {NORM} from 0 to 1, and "
            "one is not: the file is damaged"
        )
