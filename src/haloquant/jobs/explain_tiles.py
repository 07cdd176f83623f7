"""Explain why each tile of a layer has its class, from the files of a finished run.

Stored losses are used only if an allocation by them gives the classes of the run; where all goals follow from losses
and periods, those of all goals. A folder holds the losses of every job that ran in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np

from haloquant.errors import InputError
from haloquant.jobs.mac.catalogue import closest_names
from haloquant.jobs.quantize.allocation import FAST, SLOW, Allocator
from haloquant.quant.allocation import Sweep, sweep
from haloquant.recipe import CostOf, Goal, parse_recipe_json
from haloquant.report.results import Results, TileRow, decode_results
from haloquant.store.arrays import load_arrays
from haloquant.store.atomic_files import read_bounded

MAX_RESULTS = 1 << 28


@dataclass(frozen=True)
class TileReason:
    """One tile: its place, its class, its sensitivity, and the numbers that decided its class.

    `rank` is the rank of its sensitivity in the model; 1 is the most sensitive. `loss` is the predicted loss in each
    class in nats, fastest class first. `saving` has one entry for each step of the tile to a slower class on the path
    of allocations: the decrease of the loss divided by the added time, in nats per second, largest first. The
    allocation took the first `taken` of these steps.
    """

    down: int
    across: int
    chosen: int
    sensitivity: float
    rank: int
    loss: tuple[float, ...]
    saving: tuple[float, ...]
    taken: int


@dataclass(frozen=True)
class LayerReasons:
    """The tiles of a layer, and where the allocation of the whole model stopped.

    The allocation took the first `steps_taken` of the `steps` that lead to the slowest classes. `classes` is (name,
    clock in hertz, number of words) of each class. `shape` is (tiles down, tiles across). `last_taken_nats_per_s` is
    the decrease of the loss per added second of the last step that was taken, and `first_left_nats_per_s` that of the
    first step that was not taken. They are None if there is no such step.
    """

    layer: str
    method: str
    classes: tuple[tuple[str, float, int], ...]
    tiles: tuple[TileReason, ...]
    shape: tuple[int, int]
    model_tiles: int
    steps_taken: int
    steps: int
    last_taken_nats_per_s: float | None
    first_left_nats_per_s: float | None

    def letters(self) -> list[str]:
        """Return the classes as text: one letter for each tile, one line for each row of tiles."""
        marks = class_letters([name for name, _, _ in self.classes])
        line = "".join(marks[tile.chosen] for tile in self.tiles)
        down, across = self.shape
        return [line[row * across : (row + 1) * across] for row in range(down)]


def class_letters(names: Sequence[str]) -> list[str]:
    """Return one letter for each class: its first letter, or its index if an earlier class has that letter."""
    marks: list[str] = []
    for index, name in enumerate(names):
        letter = name[:1].upper()
        marks.append(str(index) if letter in marks or not letter else letter)
    return marks


def explain_layer(folder: Path, layer: str, method: str) -> LayerReasons:
    """Return why the tiles of a layer have their classes.

    Args:
        folder: Output folder of a finished `haloquant run`.
        layer: Name of a linear layer.
        method: A HALO method of that run, such as `halo-bal`.

    Raises:
        InputError: The run is not finished, it has no such layer or method, its predicted losses are missing, or its
            *bal* was chosen within budgets or by costs of a machine.
    """
    results = read_results(folder)
    rows = _rows(results, method)
    _check_knee(results, method)
    found = next((i for i, row in enumerate(rows) if row.layer == layer), None)
    if found is None:
        raise InputError(
            f"the layer must be one of {results.model}'s, such as {closest_names(layer, [row.layer for row in rows])}; "
            f"not {layer!r}"
        )
    books = results.profile.classes[:-1]  # without the last, the base class, which holds every weight value
    names = {method} | ({row.method for row in results.tiles} if _by_knee(results) else set[str]())
    methods = {name: _flat([row.classes for row in _rows(results, name)]) for name in names}
    chosen = _flat([row.classes for row in rows])
    period = np.array([1 / book.frequency_hz for book in books])
    loss, path, stop = _find_losses(folder, method, methods, period)
    sizes = [len(row.classes) * len(row.classes[0]) for row in rows]
    first = sum(sizes[:found])
    sensitivity = _flat([row.sensitivity for row in rows])
    ranks = np.empty(len(sensitivity), int)
    ranks[np.argsort(-sensitivity, kind="stable")] = np.arange(1, len(sensitivity) + 1)
    saving = -np.diff(path.loss) / np.diff(path.cost)
    across = len(rows[found].classes[0])
    tiles: list[TileReason] = []
    for place in range(sizes[found]):
        tile = first + place
        steps = np.flatnonzero(path.tile == tile)
        tiles.append(
            TileReason(
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
    return LayerReasons(
        layer,
        method,
        tuple((book.name, book.frequency_hz, len(book.values)) for book in books),
        tuple(tiles),
        (len(rows[found].classes), across),
        len(chosen),
        stop,
        len(path.cost) - 1,
        float(saving[stop - 1]) if stop > 0 else None,
        float(saving[stop]) if stop < len(saving) else None,
    )


def read_results(folder: Path) -> Results:
    """Return the results of a finished run.

    Raises:
        InputError: The folder has no results.
    """
    file = folder / "results.json"
    if not file.is_file():
        raise InputError(f"{folder} must hold results.json of a finished `haloquant run`; there is none")
    return decode_results(read_bounded(file, MAX_RESULTS), file)


def _rows(results: Results, method: str) -> list[TileRow]:
    rows = [row for row in results.tiles if row.method == method]
    if not rows:
        known = ", ".join(dict.fromkeys(row.method for row in results.tiles)) or "none: it made no HALO model"
        raise InputError(f"the method must be one of this run's ({known}), not {method!r}")
    return rows


def _find_losses(
    folder: Path, method: str, methods: Mapping[str, np.ndarray], period: np.ndarray
) -> tuple[np.ndarray, Sweep, int]:
    """Return the newest stored losses that give the classes of all methods, their path, and one's position on it.

    Args:
        folder: The output folder.
        method: The method whose position is returned.
        methods: The class of every tile by method.
        period: Period of each class in s.
    """
    tiles = len(methods[method])
    files = sorted(folder.glob("steps/tile-losses-*/losses.safetensors"), key=lambda file: -file.stat().st_mtime)
    for file in files:
        loss = load_arrays(file).get("loss")
        if loss is None or loss.shape != (tiles, len(period)):
            continue
        path = sweep(loss, np.broadcast_to(period, loss.shape).copy())
        allocator = Allocator({}, loss, path)
        if all(np.array_equal(_classes(allocator, name), chosen) for name, chosen in methods.items()):
            return loss, path, allocator.stop(_goal(method))
    raise InputError(
        f"{folder / 'steps'} must hold the tile-losses step that led to its results, and holds {len(files)} of which "
        "none does; `haloquant run` into the same folder makes it again"
    )


def _goal(method: str) -> Goal:
    return cast(Goal, method.removeprefix("halo-"))


def _classes(allocator: Allocator, method: str) -> np.ndarray:
    """Return the class of every tile by these losses."""
    goal = _goal(method)
    uniform = {"perf-opt": FAST, "acc-opt": SLOW}.get(goal)
    return allocator.path.at(allocator.stop(goal)) if uniform is None else np.full(len(allocator.loss), uniform)


def _by_knee(results: Results) -> bool:
    """Return whether all goals of a run follow from the losses and the MAC's periods, as by default."""
    text = results.provenance.get("recipe", "")
    if not text:
        return False
    quantize = parse_recipe_json(text).quantize
    return quantize.method == "haloquant" and quantize.cost == "time" and not quantize.budget.limited


def _check_knee(results: Results, method: str) -> None:
    """Refuse a run whose *bal* is not the knee of loss over the MAC's period, which is what is explained.

    Raises:
        InputError: It is another allocation.
    """
    text = results.provenance.get("recipe", "")
    if method != "halo-bal" or not text:
        return
    quantize = parse_recipe_json(text).quantize
    if quantize.budget.limited or quantize.cost not in get_args(CostOf):
        why = "within budgets" if quantize.budget.limited else f"by quantize.cost = {quantize.cost}"
        raise InputError(
            f"halo-bal must be the knee of loss over the MAC's time to be explained, and its classes were chosen {why}"
        )


def _flat(maps: Sequence[object]) -> np.ndarray:
    return np.concatenate([np.asarray(part).ravel() for part in maps])
