"""Tiles of a layer by class, and the check that a tile map fits its layer."""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Int32

from haloquant.errors import InputError
from haloquant.records import Gemm, LayerTiles


def check_fits(gemms: Iterable[Gemm], layer_tiles: Mapping[str, LayerTiles], classes: int) -> None:
    """Refuse tile maps that do not fit their layer or name a class that has no operating point.

    Raises:
        InputError: A tile map does not fit. The error names the layer.
    """
    seen: set[tuple[int, int, int]] = set()  # checked already; layers of equal shape may share arrays
    names: set[str] = set()
    for gemm in gemms:
        names.add(gemm.layer)
        tiles = layer_tiles.get(gemm.layer)
        if tiles is None:
            continue
        key = (id(tiles.classes), gemm.k, gemm.n)
        if key in seen:
            continue
        seen.add(key)
        if (tiles.grid.in_features, tiles.grid.out_features) != (gemm.k, gemm.n):
            raise InputError(
                f"tile map of {gemm.layer} must be of a {gemm.n} x {gemm.k} layer (out x in), "
                f"not {tiles.grid.out_features} x {tiles.grid.in_features}"
            )
        if tiles.classes.shape != (tiles.grid.down, tiles.grid.across):
            raise InputError(
                f"tile map of {gemm.layer} must have {tiles.grid.down} x {tiles.grid.across} tiles (down x across), "
                f"not {' x '.join(map(str, tiles.classes.shape))}"
            )
        if tiles.histogram.shape != (*tiles.classes.shape, len(tiles.values)):
            raise InputError(
                f"histogram of {gemm.layer} must be of its tiles by its {len(tiles.values)} values, "
                f"not {' x '.join(map(str, tiles.histogram.shape))}"
            )
        if int(tiles.classes.max(initial=0)) >= classes:
            raise InputError(
                f"class of a tile of {gemm.layer} must be below {classes}, the number of operating points given, "
                f"not {int(tiles.classes.max())}"
            )
    missing = [name for name in layer_tiles if name not in names]
    if missing:
        raise InputError(f"tile maps must be of layers of the workload, not {', '.join(missing[:3])}")


class TileIndex:
    """Tiles by class, computed once per class map. Layers that share a class map share the result."""

    def __init__(self) -> None:
        self._places: dict[int, dict[int, Int32[np.ndarray, "_ 2"]]] = {}
        self._present: dict[int, tuple[int, ...]] = {}

    def by_class(self, tiles: LayerTiles) -> dict[int, Int32[np.ndarray, "_ 2"]]:
        """Return for each class its tiles as (down, across), ascending by down, then across."""
        key = id(tiles.classes)
        if key not in self._places:
            self._places[key] = {
                c: np.stack(np.nonzero(tiles.classes == c), axis=1).astype(np.int32) for c in self.present(tiles)
            }
        return self._places[key]

    def present(self, tiles: LayerTiles) -> tuple[int, ...]:
        """Return the classes that occur in a layer, ascending."""
        key = id(tiles.classes)
        if key not in self._present:
            self._present[key] = tuple(np.flatnonzero(np.bincount(tiles.classes.ravel())).tolist())
        return self._present[key]
