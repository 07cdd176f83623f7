"""Why each tile of a layer got its class: read back from a finished run, and checked to be what decided there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from haloquant.errors import InputError
from haloquant.jobs.mac.catalogue import nearest
from haloquant.jobs.quantize.halo import Allocator
from haloquant.quant.allocation import Sweep, sweep
from haloquant.recipe import Goal
from haloquant.report.results import Results, TileRow, decode_results
from haloquant.store.arrays import load_arrays
from haloquant.store.atomic_files import read_bounded

MAX_RESULTS = 1 << 28


@dataclass(frozen=True)
class TileWhy:
    """One tile: where it is, its class, its sensitivity and rank in the model, and what each class would cost it."""

    down: int
    across: int
    chosen: int
    sensitivity: float
    rank: int  # 1 is the most sensitive
    loss: tuple[float, ...]  # nats, by class, fastest first
    saving: tuple[float, ...]  # nats per second of each step to a slower class that is on its way, steepest first
    taken: int  # how many of those steps the allocation took


@dataclass(frozen=True)
class Why:
    """A layer's tiles, and where the allocation of the whole model stopped."""

    layer: str
    method: str
    classes: tuple[tuple[str, float, int], ...]  # name, clock in hertz, number of words
    tiles: tuple[TileWhy, ...]
    shape: tuple[int, int]
    model_tiles: int
    stop: int
    stops: int
    last_taken: float | None  # nats saved per second by the last step that was taken, and by the first that was not
    first_left: float | None

    def letters(self) -> list[str]:
        """The classes as one letter a tile, one line a row of tiles."""
        marks = marks_of([name for name, _, _ in self.classes])
        line = "".join(marks[tile.chosen] for tile in self.tiles)
        down, across = self.shape
        return [line[row * across : (row + 1) * across] for row in range(down)]


def marks_of(names: Sequence[str]) -> list[str]:
    """One letter for each class: its first, or a digit where that is another's already."""
    marks: list[str] = []
    for index, name in enumerate(names):
        letter = name[:1].upper()
        marks.append(str(index) if letter in marks or not letter else letter)
    return marks


def why(folder: Path, layer: str, method: str) -> Why:
    """Say why the tiles of a layer have their classes.

    Args:
        folder: output of a finished `haloquant run`.
        layer: name of a linear layer.
        method: one of HALO's there, such as `halo-bal`.

    Raises:
        InputError: no finished run, no such layer or method, or the predicted losses are no longer there.
    """
    results = read_results(folder)
    rows = _rows(results, method)
    found = next((i for i, row in enumerate(rows) if row.layer == layer), None)
    if found is None:
        raise InputError(
            f"the layer must be one of {results.model}'s, such as {nearest(layer, [row.layer for row in rows])}; "
            f"not {layer!r}"
        )
    books = results.profile.classes[:-1]  # the last is the base clock, for every weight value
    chosen = _flat([row.classes for row in rows])
    period = np.array([1 / book.frequency_hz for book in books])
    loss, path, stop = _decided(folder, method, chosen, period)
    sizes = [len(row.classes) * len(row.classes[0]) for row in rows]
    first = sum(sizes[:found])
    sensitivity = _flat([row.sensitivity for row in rows])
    ranks = np.empty(len(sensitivity), int)
    ranks[np.argsort(-sensitivity, kind="stable")] = np.arange(1, len(sensitivity) + 1)
    saving = -np.diff(path.loss) / np.diff(path.cost)
    across = len(rows[found].classes[0])
    tiles: list[TileWhy] = []
    for place in range(sizes[found]):
        tile = first + place
        steps = np.flatnonzero(path.tile == tile)
        tiles.append(
            TileWhy(
                place // across,
                place % across,
                int(chosen[tile]),
                float(sensitivity[tile]),
                int(ranks[tile]),
                tuple(loss[tile].tolist()),
                tuple(saving[steps].tolist()),
                int((steps < stop).sum()),
            )
        )
    return Why(
        layer,
        method,
        tuple((book.name, book.frequency_hz, len(book.values)) for book in books),
        tuple(tiles),
        (len(rows[found].classes), across),
        len(chosen),
        stop,
        len(path.cost),
        float(saving[stop - 1]) if stop > 0 else None,
        float(saving[stop]) if stop < len(saving) else None,
    )


def read_results(folder: Path) -> Results:
    """The results of a finished run.

    Raises:
        InputError: there are none.
    """
    file = folder / "results.json"
    if not file.is_file():
        raise InputError(f"{folder} must hold results.json of a finished `haloquant run`; there is none")
    return decode_results(read_bounded(file, MAX_RESULTS), file)


def _rows(results: Results, method: str) -> list[TileRow]:
    rows = [row for row in results.tiles if row.method == method]
    if not rows:
        known = ", ".join(dict.fromkeys(row.method for row in results.tiles)) or "none, for it made no HALO model"
        raise InputError(f"the method must be one of this run's ({known}), not {method!r}")
    return rows


def _decided(folder: Path, method: str, chosen: np.ndarray, period: np.ndarray) -> tuple[np.ndarray, Sweep, int]:
    """The losses that led to these classes: of all kept, the newest from which the very same classes follow."""
    files = sorted(folder.glob("steps/tile-losses-*/losses.safetensors"), key=lambda file: -file.stat().st_mtime)
    for file in files:
        loss = load_arrays(file).get("loss")
        if loss is None or loss.shape != (len(chosen), len(period)):
            continue
        path = sweep(loss, np.broadcast_to(period, loss.shape).copy())
        stop = Allocator({}, loss, path).stop(cast(Goal, method.removeprefix("halo-")))
        if np.array_equal(path.at(stop), chosen):
            return loss, path, stop
    raise InputError(
        f"{folder / 'steps'} must hold the tile-losses step that led to its results, and holds {len(files)} of which "
        "none does; `haloquant run` into the same folder makes it again"
    )


def _flat(maps: Sequence[object]) -> np.ndarray:
    return np.concatenate([np.asarray(part).ravel() for part in maps])
