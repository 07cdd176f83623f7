"""Tiles of a layer as index lists by class, and the check that a tile map fits its layer."""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Int32

from haloquant.errors import InputError
from haloquant.types import Gemm, LayerTiles


def check_fits(gemms: Iterable[Gemm], layer_tiles: Mapping[str, LayerTiles], classes: int) -> None:
    """Refuse tile maps that do not fit their layer or name a class that has no operating point.

    Raises:
        InputError: naming the layer, what was given and what would do.
    """
    seen: set[tuple[int, int, int]] = set()  # layers share their arrays where shapes repeat; look at each once
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
                f"not {tiles.grid.out_features} x {tiles.grid.in_features}."
            )
        if tiles.classes.shape != (tiles.grid.down, tiles.grid.across):
            raise InputError(
                f"tile map of {gemm.layer} must have {tiles.grid.down} x {tiles.grid.across} tiles (down x across), "
                f"not {' x '.join(map(str, tiles.classes.shape))}."
            )
        if tiles.histogram.shape != (*tiles.classes.shape, len(tiles.values)):
            raise InputError(
                f"histogram of {gemm.layer} must be of its tiles by its {len(tiles.values)} values, "
                f"not {' x '.join(map(str, tiles.histogram.shape))}."
            )
        if int(tiles.classes.max(initial=0)) >= classes:
            raise InputError(
                f"class of a tile of {gemm.layer} must be below {classes}, the number of operating points given, "
                f"not {int(tiles.classes.max())}."
            )
    missing = [name for name in layer_tiles if name not in names]
    if missing:
        raise InputError(f"tile maps must be of layers of the workload, not {', '.join(missing[:3])}.")


class TileIndex:
    """Tile indices (down, across) by class, found once per distinct class map; layers that share it share them."""

    def __init__(self) -> None:
        self._found: dict[int, dict[int, Int32[np.ndarray, "_ 2"]]] = {}
        self._starts: dict[int, dict[int, list[int]]] = {}

    def by_class(self, tiles: LayerTiles) -> dict[int, Int32[np.ndarray, "_ 2"]]:
        """Return class -> its tiles, each list ascending by down, then across."""
        key = id(tiles.classes)
        if key not in self._found:
            present = np.unique(tiles.classes)
            self._found[key] = {
                int(c): np.stack(np.nonzero(tiles.classes == c), axis=1).astype(np.int32) for c in present
            }
        return self._found[key]

    def in_rows(self, tiles: LayerTiles, low: int, high: int) -> dict[int, Int32[np.ndarray, "_ 2"]]:
        """Return `by_class` for the rows of tiles from `low` up to, not including, `high`."""
        found = self.by_class(tiles)
        if (low, high) == (0, tiles.grid.down):
            return found
        key = id(tiles.classes)
        if key not in self._starts:
            rows = np.arange(tiles.grid.down + 1, dtype=np.int32)
            self._starts[key] = {c: np.searchsorted(places[:, 0], rows).tolist() for c, places in found.items()}
        return {c: places[self._starts[key][c][low] : self._starts[key][c][high]] for c, places in found.items()}
