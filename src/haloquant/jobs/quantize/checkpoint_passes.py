"""The passes over a checkpoint: scales of a transform, codebooks, the loss of every tile, and the quantized layers."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from haloquant.dvfs.classes import Classes, choose_classes
from haloquant.jobs.engine.tasks import Arrays, Work
from haloquant.jobs.engine.threads import one_thread
from haloquant.jobs.quantize.allocation import FAST, SLOW, build_allocator, layer_grids
from haloquant.jobs.quantize.layer_tasks import (
    ROWS,
    SCALE,
    LayerSettings,
    LayerTask,
    ScaleTask,
    find_scale,
    measure_layer,
    quantize_layer,
    statistics_arrays,
)
from haloquant.jobs.quantize.request import Request
from haloquant.jobs.quantize.task_runner import LayerPass, TaskRunner
from haloquant.jobs.quantize.transform import divided_rows, scale_layer
from haloquant.jobs.step_files import load_classes, load_packed, save_classes
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer, read_weight
from haloquant.lm.export.folding import Fold, folded_tensors, folds
from haloquant.lm.export.model_folder import RawTensor
from haloquant.quant.codebook import sample_groups
from haloquant.quant.format.packing import PackedWeight
from haloquant.quant.sensitivity import uniform_importance
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.records import LayerStatistics, TileMap
from haloquant.store.arrays import load_arrays, load_arrays_if_any, save_arrays, save_arrays_if_any

SAMPLED_LAYERS = 12  # number of layers, about, whose weights the codebooks are chosen for


class Passes:
    """The passes over one checkpoint. `run` does all of them; then `layers` and `folded` return the results."""

    def __init__(self, checkpoint: Checkpoint, request: Request, runner: TaskRunner) -> None:
        self.checkpoint, self.request, self.runner = checkpoint, request, runner
        self.reused = 0  # layers that were finished by an earlier run
        self.tile = request.recipe.hardware.tile
        shapes = {layer.name: (layer.out_features, layer.in_features) for layer in checkpoint.layers}
        self.grids = layer_grids(shapes, self.tile)
        self.places: tuple[Fold, ...] = ()
        self.scales: dict[str, np.ndarray] = {}  # scales of the inputs of layers, with a transform
        self._rows: dict[str, np.ndarray] = {}  # divisors of the rows of layers, with a transform
        self._classes: Classes | None = None

    def run(self) -> None:
        """Finish the step of every layer."""
        if self.request.recipe.quantize.transform != "none":
            self.places = folds(self.checkpoint)
            self.scales = self._find_scales()
            self._rows = divided_rows(self.scales, self.places)
        with self.runner.meter.stage("choose codebooks"):
            self._classes = classes = self.classes()
        maps = self._maps(classes)
        key = self.runner.key

        def step(layer: LinearLayer) -> tuple[str, object]:
            return f"layer-{layer.name}", [key, maps[layer.name].codebook.tolist()]

        def save(folder: Path, layer: LinearLayer, arrays: Arrays) -> None:
            save_arrays(folder / "packed.safetensors", {f"{layer.name}.{name}": a for name, a in arrays.items()})

        work = self._layer_work(classes, {name: part.codebook for name, part in maps.items()})
        self.reused += self.runner.run(LayerPass("quantize", self.checkpoint.layers, step, quantize_layer, work, save))

    def layers(self) -> Iterator[PackedWeight]:
        """Yield every layer in packed form, in the checkpoint's order. Call it after `run`."""
        if self._classes is None:
            raise ValueError("run must be called before layers")
        for layer in self.checkpoint.layers:
            folder = self.runner.folders[f"layer-{layer.name}"]
            yield load_packed(folder, (layer.name,), self._classes.codebooks[:-1], self.tile)[0]

    def folded(self) -> dict[str, RawTensor]:
        """Return the norms and biases with the scales of a transform folded in. Call it after `run`."""
        return folded_tensors(self.checkpoint, self.places, self.scales)

    def classes(self) -> Classes:
        """Return the codebooks of the classes, chosen for a sample of the layers' weights."""
        settings, hardware = self.request.recipe.quantize, self.request.recipe.hardware

        def make(folder: Path) -> None:
            every = max(1, len(self.checkpoint.layers) // SAMPLED_LAYERS)
            pairs = (
                (self._weight(layer), uniform_importance(layer.in_features))
                for layer in self.checkpoint.layers[::every]
            )
            sample = sample_groups(pairs, make_grid(self.tile, self.tile, self.tile, self.tile), per_layer=24)
            with one_thread():
                chosen = choose_classes(
                    self.request.profile,
                    0,
                    sample,
                    settings.class_sizes(),
                    hardware.margin,
                    self.runner.counter("choose codebooks"),
                )
            save_classes(folder, chosen)

        folder, _ = self.runner.steps.run("classes", self.runner.key, make)
        return load_classes(folder, self.request.profile, 0)

    def _weight(self, layer: LinearLayer) -> np.ndarray:
        """Return a layer's weight, after the transform if there is one."""
        return scale_layer(read_weight(self.checkpoint, layer), self.scales.get(layer.name), self._rows.get(layer.name))

    def _find_scales(self) -> dict[str, np.ndarray]:
        """Return the scale of every input that can be folded, by the layers that read it. It takes a calibration."""
        transform, tensors = self.request.recipe.quantize.transform, self.checkpoint.tensors
        layers = {layer.name: layer for layer in self.checkpoint.layers}
        first = {place.layers[0]: place for place in self.places}
        key = self.runner.key

        def step(layer: LinearLayer) -> tuple[str, object]:
            return f"scale-{layer.name}", key

        def save(folder: Path, _: LinearLayer, arrays: Arrays) -> None:
            save_arrays_if_any(folder / "scale.safetensors", arrays)

        def work(layer: LinearLayer, known: LayerStatistics | None) -> Work:
            place = first[layer.name]
            readers = tuple(layers[name] for name in place.layers)
            read = tuple(tensors[reader.tensor] for reader in readers)
            tokens, source = (0, "") if known is None else (known.tokens, known.source)
            return Work(ScaleTask(transform, place, readers, read, tokens, source), statistics_arrays(known))

        chosen = [layers[name] for name in first]
        self.runner.run(LayerPass(f"{transform} scales", chosen, step, find_scale, work, save, "none"))
        found: dict[str, np.ndarray] = {}
        for name, place in first.items():
            stored = load_arrays_if_any(self.runner.folders[f"scale-{name}"] / "scale.safetensors")
            if "scale" in stored:
                found |= dict.fromkeys(place.layers, stored["scale"])
        return found

    def _layer_work(
        self, classes: Classes, maps: Mapping[str, np.ndarray]
    ) -> Callable[[LinearLayer, LayerStatistics | None], Work]:
        """Return the function that makes a layer's task; `maps` holds the class of its tiles, if chosen already."""
        quantize = self.request.recipe.quantize
        settings = LayerSettings(classes, self.tile, quantize.sparse_budget, quantize.compensate)

        def work(layer: LinearLayer, known: LayerStatistics | None) -> Work:
            about = (0, "") if known is None else (known.tokens, known.source)
            scaled = {
                kind: found[layer.name]
                for kind, found in ((SCALE, self.scales), (ROWS, self._rows))
                if layer.name in found
            }
            task = LayerTask(layer, self.checkpoint.tensors[layer.tensor], settings, maps.get(layer.name), *about)
            return Work(task, statistics_arrays(known) | scaled)

        return work

    def _maps(self, classes: Classes) -> Mapping[str, TileMap]:
        """Return the class of every tile by layer.

        `perf-opt` and `acc-opt` give all tiles one class. `bal` measures the loss of every tile in every class first.
        """
        ends = {"perf-opt": FAST, "acc-opt": SLOW}
        if self.request.goal in ends:
            return {name: uniform_map(name, grid, ends[self.request.goal]) for name, grid in self.grids.items()}
        key, layers = self.runner.key, self.checkpoint.layers

        def step(layer: LinearLayer) -> tuple[str, object]:
            return f"losses-{layer.name}", key

        def save(folder: Path, _: LinearLayer, arrays: Arrays) -> None:
            save_arrays(folder / "losses.safetensors", arrays)

        work = self._layer_work(classes, {})
        self.runner.run(LayerPass("measure tiles", layers, step, measure_layer, work, save))
        folders = (self.runner.folders[f"losses-{layer.name}"] for layer in layers)
        with self.runner.meter.stage("measure tiles"), one_thread():
            losses = [load_arrays(folder / "losses.safetensors")["loss"] for folder in folders]
            allocator = build_allocator(self.grids, np.concatenate(losses), classes)
        return allocator.maps(allocator.stop(self.request.goal))
