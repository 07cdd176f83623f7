"""Search of the places of sparse weights in torch: the candidates from which `quant.sparse` chooses."""

from collections.abc import Iterable

import numpy as np
import torch

from haloquant.quant.sparse import largest


def moments(bands: Iterable[torch.Tensor], size: int) -> tuple[float, float]:
    """Return the mean and the mean square of a layer's weights, summed in float64.

    Args:
        bands: rows of the layer, float32.
        size: number of its weights.
    """
    total = squares = 0.0
    for band in bands:
        total += float(band.sum(dtype=torch.float64))
        squares += float(torch.linalg.vector_norm(band, dtype=torch.float64)) ** 2
    return total / size, squares / size


def outliers(bands: Iterable[torch.Tensor], mean: float, reach: float) -> np.ndarray:
    """Return the places, in the flat layer, of the weights farther than `reach` from the mean, ascending.

    Args:
        bands: rows of the layer in their order, float32.
        mean: mean of the layer's weights.
        reach: distance from the mean.
    """
    found, first = [np.empty(0, np.int64)], 0
    high, low = float(np.float32(mean + reach)), float(np.float32(mean - reach))
    for band in bands:
        flat = band.flatten()
        found.append(first + torch.nonzero((flat > high) | (flat < low)).flatten().cpu().numpy())
        first += flat.numel()
    return np.concatenate(found)


def usable_row_sums(values: torch.Tensor) -> np.ndarray:
    """Return the sum of each row in float64, with 0 for values below 0; NaN for a row that is not finite.

    Args:
        values: importance of some rows, float32 [rows, in].
    """
    finite = values.sum(1, dtype=torch.float64).isfinite()
    sums = values.clamp(min=0).sum(1, dtype=torch.float64)
    return torch.where(finite, sums, torch.nan).cpu().numpy()


def largest_places(bands: Iterable[torch.Tensor], count: int) -> np.ndarray:
    """Return the places of the `count` largest values; of equal values the lower place (`quant.sparse.largest`).

    Args:
        bands: parts of a flat array in their order, float32.
        count: number of values.
    """
    places, values, first = [np.empty(0, np.int64)], [np.empty(0, np.float32)], 0
    for band in bands:
        flat = band.flatten()
        some = min(count, flat.numel())
        if some:
            edge = torch.topk(flat, some).values[-1]
            found = torch.nonzero(flat >= edge).flatten()
            places.append(first + found.cpu().numpy())
            values.append(flat[found].cpu().numpy())
        first += flat.numel()
    candidates = np.concatenate(places)
    return candidates[largest(np.concatenate(values), count)]
