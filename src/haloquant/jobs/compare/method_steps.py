"""The methods of a job, each as a step that can be made here or elsewhere: full precision, rivals, HALO's goals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from haloquant.jobs.compare import methods
from haloquant.jobs.compare.stored import Method, load_method, save_method, save_packed
from haloquant.jobs.compare.workbench import Workbench
from haloquant.jobs.engine.threads import one_thread
from haloquant.jobs.quantize import halo
from haloquant.jobs.quantize.transform import NOTE
from haloquant.quant.layer import dequantize
from haloquant.quant.rivals.registry import rival
from haloquant.quant.tile_histogram import layer_tiles
from haloquant.quant.tiles import make_grid
from haloquant.records import BitCount, LayerStatistics


@dataclass(frozen=True)
class Planned:
    """A method's step: its name, all that its result depends on, what fills its folder, and the steps it reads."""

    name: str
    inputs: object
    make: Callable[[Path], None]
    prepare: Callable[[], object] = lambda: None


def method(bench: Workbench, planned: Planned) -> Method:
    """A planned method, made now unless it was before."""
    return load_method(bench.step(planned.name, planned.inputs, planned.make))


def all_methods(bench: Workbench) -> dict[str, Planned]:
    """Full precision, the references, the rivals and HALO's goals, by name."""
    planned = [reference(bench)]
    planned += [rival_method(bench, name, rival_name) for name, rival_name in methods.REFERENCES.items()]
    for name in bench.recipe.quantize.rivals:
        if name not in methods.REFERENCES.values():
            planned.append(rival_method(bench, name, name))
    for goal in bench.recipe.quantize.goals:
        planned.append(halo_method(bench, f"halo-{goal}", bench.allocator.stop(goal)))
    return {x.name: x for x in planned}


def between(bench: Workbench) -> dict[str, Planned]:
    """Points of the sweep between the goals, for the Pareto front, by name."""
    last = len(bench.allocator.path.cost) - 1
    goals = {bench.allocator.stop(goal) for goal in bench.recipe.quantize.goals}
    stops = [round(last * share) for share in bench.recipe.quantize.sweep]
    return {f"halo-{s}": halo_method(bench, f"halo-{s}", s) for s in dict.fromkeys(stops) if s not in goals}


def reference(bench: Workbench) -> Planned:
    """Full precision: 16 bits a weight, a floating-point multiplier."""

    def make(folder: Path) -> None:
        accuracy = _evaluate(bench, "fp16", {})
        count = sum(o * i for o, i in bench.shapes.values())
        save_method(folder, Method("fp16", accuracy, BitCount(weights=count, codes=16 * count), (), {}))

    return Planned("fp16", bench.evaluation_key(), make)


def rival_method(bench: Workbench, name: str, rival_name: str) -> Planned:
    """A rival, by its preset's name, called `name` in the tables."""
    chosen = rival(rival_name)

    def read() -> tuple[Mapping[str, LayerStatistics], Mapping[str, np.ndarray] | None]:
        known = bench.token_statistics if chosen.by_token else bench.statistics
        return known, bench.row_hessians if chosen.by_head else None

    def make(folder: Path) -> None:
        known, rows = read()
        tell = partial(bench.progress, f"quantize {name}")
        with one_thread():
            found = methods.quantize_rival(rival_name, bench.weights, known, tell, rows)
        tile = bench.recipe.hardware.tile
        tiles = {
            layer: seen
            for layer, made in found.items()
            if (
                seen := methods.array_tiles(
                    made, make_grid(*bench.shapes[layer], tile, tile), bench.profile, bench.corner
                )
            )
            is not None
        }
        bits = sum((made.bits for made in found.values()), BitCount())
        notes = dict.fromkeys(note for made in found.values() for note in made.notes)
        accuracy = _evaluate(bench, name, {layer: made.weight for layer, made in found.items()})
        save_method(folder, Method(name, accuracy, bits, tuple(notes), tiles))

    key = [rival_name, chosen.by_head, chosen.by_token, bench.evaluation_key(), bench.profile_key()]
    return Planned(name, key, make, read)


def halo_method(bench: Workbench, name: str, stop: int) -> Planned:
    """HALO with the classes that a stop of the sweep gives the tiles; the packed layers are kept."""
    maps = bench.allocator.maps(stop)

    def make(folder: Path) -> None:
        seen = bench.transformed
        tell = partial(bench.progress, f"quantize {name}")
        with one_thread():
            found = halo.quantize(seen.weights, seen.statistics, maps, bench.classes, bench.recipe, tell)
        save_packed(folder, found)
        tiles = {layer: layer_tiles(q) for layer, q in found.items()}
        bits = sum((seen.bits for seen in tiles.values()), BitCount())
        rounded = {layer: seen.undo(layer, dequantize(q)) for layer, q in found.items()}
        transform = bench.recipe.quantize.transform
        notes = () if transform == "none" else (NOTE.format(transform, len(seen.scales), len(found)),)
        accuracy = _evaluate(bench, name, rounded, seen.scales)
        save_method(folder, Method(name, accuracy, bits, notes, tiles))

    classes = [maps[layer].codebook.tolist() for layer in bench.shapes]
    return Planned(name, [classes, bench.evaluation_key(), bench.halo_key()], make)


def _evaluate(
    bench: Workbench,
    name: str,
    weights: dict[str, np.ndarray],
    input_scale: Mapping[str, np.ndarray] | None = None,
) -> methods.Accuracy:
    tell = partial(bench.progress, f"evaluate {name}")
    return methods.evaluate(bench.model, weights, bench.inputs.evaluation.tokens, bench.recipe, tell, input_scale)
