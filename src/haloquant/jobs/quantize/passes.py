"""The passes over a checkpoint: scales of a transform, codebooks, the loss of every tile, the layers.

Every finished task is a step on disk.

Workers give their results back and this process alone writes them, so a lost worker costs the task it had in hand, and
a lost driver the few that were on their way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from haloquant.dvfs.classes import Classes, choose_classes
from haloquant.jobs.compare.stored import load_classes, load_packed, save_classes
from haloquant.jobs.engine.metering import Meter, metered
from haloquant.jobs.engine.tasks import Arrays, Function, Session, Work
from haloquant.jobs.engine.threads import one_thread
from haloquant.jobs.inputs import Progress
from haloquant.jobs.quantize import halo
from haloquant.jobs.quantize.hidden_states import KeptStates
from haloquant.jobs.quantize.layer_tasks import (
    ROWS,
    SCALE,
    LayerTask,
    ScaleTask,
    Settings,
    find_scale,
    known_arrays,
    make_layer,
    measure_layer,
)
from haloquant.jobs.quantize.transform import divided_rows, scale_layer
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer, read_weight
from haloquant.lm.export.folding import Fold, folded_tensors, folds
from haloquant.lm.export.model_folder import RawTensor
from haloquant.quant.codebook import sample_groups
from haloquant.quant.sensitivity import uniform_importance
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.recipe import Goal, Recipe
from haloquant.records import LayerStatistics, MacProfile, QuantizedWeight, TileMap
from haloquant.store.arrays import load_arrays, load_arrays_if_any, save_arrays, save_arrays_if_any
from haloquant.store.steps import Steps

SAMPLED_LAYERS = 12
Step = Callable[[LinearLayer], tuple[str, object]]  # the name and the inputs of a layer's step
Save = Callable[[Path, LinearLayer, Arrays], None]
Fisher = Literal["block", "none"]  # what `lm.calibration_stream` is asked for; that room needs torch


@dataclass(frozen=True)
class Asked:
    """One quantization asked for: everything its result depends on beside the checkpoint."""

    profile: MacProfile
    goal: Goal
    recipe: Recipe
    calibration: np.ndarray | None  # windows of tokens [samples, window]; None: data-free
    source: str  # how sensitivity was had, in words


class Passes:
    """The passes over one checkpoint, with workers to do them."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        asked: Asked,
        steps: Steps,
        key: str,
        session: Session,
        progress: Progress,
        meter: Meter,
    ) -> None:
        self.checkpoint, self.asked, self.steps, self.key = checkpoint, asked, steps, key
        self.session, self.progress, self.meter = session, progress, meter
        self.reused = 0
        self.tile = asked.recipe.hardware.tile
        self.grids = {x.name: make_grid(x.out_features, x.in_features, self.tile, self.tile) for x in checkpoint.layers}
        self.places: tuple[Fold, ...] = ()
        self.scales: dict[str, np.ndarray] = {}  # of the inputs of layers behind a transform
        self._rows: dict[str, np.ndarray] = {}
        self._folders: dict[str, Path] = {}
        self._classes: Classes | None = None

    def make_all(self) -> None:
        """Have every layer as a finished step."""
        if self.asked.recipe.quantize.transform != "none":
            self.places = folds(self.checkpoint)
            self.scales = self._find_scales()
            self._rows = divided_rows(self.scales, self.places)
        with self.meter.stage("choose codebooks"):
            self._classes = classes = self.classes()
        maps = self._maps(classes)

        def step(layer: LinearLayer) -> tuple[str, object]:
            return f"layer-{layer.name}", [self.key, maps[layer.name].codebook.tolist()]

        def save(folder: Path, layer: LinearLayer, arrays: Arrays) -> None:
            save_arrays(folder / "packed.safetensors", {f"{layer.name}.{name}": a for name, a in arrays.items()})

        work = self._of_layer(classes, {name: part.codebook for name, part in maps.items()})
        self.reused += self._run("quantize", self.checkpoint.layers, step, make_layer, save, work)

    def layers(self) -> Iterator[QuantizedWeight]:
        """Every layer in HALO form, in order, after `make_all`."""
        if self._classes is None:
            raise ValueError("make_all must come before layers")
        for layer in self.checkpoint.layers:
            folder = self._folders[f"layer-{layer.name}"]
            yield load_packed(folder, (layer.name,), self._classes.codebooks[:-1], self.tile)[0]

    def folded(self) -> dict[str, RawTensor]:
        """Norms and biases that the scales of a transform are folded into, after `make_all`."""
        return folded_tensors(self.checkpoint, self.places, self.scales)

    def classes(self) -> Classes:
        """Codebooks from a sample of the layers."""
        asked, hardware = self.asked.recipe.quantize, self.asked.recipe.hardware

        def make(folder: Path) -> None:
            every = max(1, len(self.checkpoint.layers) // SAMPLED_LAYERS)
            pairs = (
                (self._weight(layer), uniform_importance(layer.in_features))
                for layer in self.checkpoint.layers[::every]
            )
            sample = sample_groups(pairs, make_grid(self.tile, self.tile, self.tile, self.tile), per_layer=24)
            sizes = (("fast", asked.fast_words, asked.fast_loss_db), ("slow", asked.slow_words, asked.slow_loss_db))
            with one_thread():
                chosen = choose_classes(
                    self.asked.profile, 0, sample, sizes, hardware.margin, self._tell("choose codebooks")
                )
            save_classes(folder, chosen)

        folder, _ = self.steps.run("classes", self.key, make)
        return load_classes(folder, self.asked.profile, 0)

    def _weight(self, layer: LinearLayer) -> np.ndarray:
        """A layer's weight as HALO sees it."""
        return scale_layer(read_weight(self.checkpoint, layer), self.scales.get(layer.name), self._rows.get(layer.name))

    def _find_scales(self) -> dict[str, np.ndarray]:
        """The scale of every input that has a place, by the layers that read it. One more pass of calibration."""
        asked, tensors = self.asked.recipe.quantize, self.checkpoint.tensors
        layers = {layer.name: layer for layer in self.checkpoint.layers}
        first = {place.layers[0]: place for place in self.places}

        def step(layer: LinearLayer) -> tuple[str, object]:
            return f"scale-{layer.name}", self.key

        def save(folder: Path, _: LinearLayer, arrays: Arrays) -> None:
            save_arrays_if_any(folder / "scale.safetensors", arrays)

        def work(layer: LinearLayer, known: LayerStatistics | None) -> Work:
            place = first[layer.name]
            readers = tuple(layers[name] for name in place.layers)
            read = tuple(tensors[reader.tensor] for reader in readers)
            tokens, source = (0, "") if known is None else (known.tokens, known.source)
            return Work(ScaleTask(asked.transform, place, readers, read, tokens, source), known_arrays(known))

        chosen = [layers[name] for name in first]
        self._run(f"{asked.transform} scales", chosen, step, find_scale, save, work, "none")
        found: dict[str, np.ndarray] = {}
        for name, place in first.items():
            kept = load_arrays_if_any(self._folders[f"scale-{name}"] / "scale.safetensors")
            if "scale" in kept:
                found |= dict.fromkeys(place.layers, kept["scale"])
        return found

    def _of_layer(
        self, classes: Classes, maps: Mapping[str, np.ndarray]
    ) -> Callable[[LinearLayer, LayerStatistics | None], Work]:
        """What makes a layer's task: with the class of each of its tiles, where they have one yet."""
        asked = self.asked.recipe.quantize
        settings = Settings(classes, self.tile, asked.sparse_budget, asked.compensate)

        def work(layer: LinearLayer, known: LayerStatistics | None) -> Work:
            about = (0, "") if known is None else (known.tokens, known.source)
            scaled = {
                kind: found[layer.name]
                for kind, found in ((SCALE, self.scales), (ROWS, self._rows))
                if layer.name in found
            }
            task = LayerTask(layer, self.checkpoint.tensors[layer.tensor], settings, maps.get(layer.name), *about)
            return Work(task, known_arrays(known) | scaled)

        return work

    def _maps(self, classes: Classes) -> Mapping[str, TileMap]:
        """The class of every tile: one class for all at the ends of the sweep, the knee's in between."""
        ends = {"perf-opt": halo.FAST, "acc-opt": halo.SLOW}
        if self.asked.goal in ends:
            return {name: uniform_map(name, grid, ends[self.asked.goal]) for name, grid in self.grids.items()}

        def step(layer: LinearLayer) -> tuple[str, object]:
            return f"losses-{layer.name}", self.key

        def save(folder: Path, _: LinearLayer, arrays: Arrays) -> None:
            save_arrays(folder / "losses.safetensors", arrays)

        self._run("measure tiles", self.checkpoint.layers, step, measure_layer, save, self._of_layer(classes, {}))
        folders = (self._folders[f"losses-{layer.name}"] for layer in self.checkpoint.layers)
        with self.meter.stage("measure tiles"), one_thread():
            losses = [load_arrays(folder / "losses.safetensors")["loss"] for folder in folders]
            path = halo.allocator(self.grids, np.concatenate(losses), classes)
        return path.maps(path.stop(self.asked.goal))

    def _run(
        self,
        name: str,
        chosen: Sequence[LinearLayer],
        step: Step,
        function: Function,
        save: Save,
        work: Callable[[LinearLayer, LayerStatistics | None], Work],
        fisher: Fisher = "block",
    ) -> int:
        """Do the chosen layers that are not finished, and return how many were."""
        tell, total = self._tell(name), len(chosen)
        for layer in chosen:
            if (folder := self.steps.find(*step(layer))) is not None:
                self._folders[step(layer)[0]] = folder
        missing = [layer for layer in chosen if step(layer)[0] not in self._folders]
        done = total - len(missing)
        wanted = {layer.name for layer in missing}
        sent: list[LinearLayer] = []
        if done:
            tell(done, total)

        def works() -> Iterator[Work]:
            for layer, known in self._metered(name, self._statistics(name, chosen, step, missing, fisher)):
                if layer.name not in wanted:
                    continue
                sent.append(layer)
                task = work(layer, known)
                yield Work((function, task.argument), task.arrays)

        with self.meter.stage(name):
            for index, (_, taken), arrays in self.session.run(metered, works()):
                layer = sent[index]
                self.meter.add(layer.name.rpartition(".")[2], layer.out_features * layer.in_features, taken)
                folder, _ = self.steps.run(*step(layer), lambda at, x=layer, made=arrays: save(at, x, made))
                self._folders[step(layer)[0]] = folder
                done += 1
                tell(done, total)
        KeptStates(self.steps, self.key, name).forget()
        return total - len(missing)

    def _statistics(
        self,
        name: str,
        chosen: Sequence[LinearLayer],
        step: Step,
        missing: Sequence[LinearLayer],
        fisher: Fisher,
    ) -> Iterator[tuple[LinearLayer, LayerStatistics | None]]:
        """Layers with what calibration knows of them; where all are finished, nothing is run."""
        if self.asked.calibration is None or not missing:
            return ((layer, None) for layer in missing)
        from haloquant.lm.calibration.by_block import collect_by_block

        kept = KeptStates(self.steps, self.key, name)

        def passed(blocks: int, states: np.ndarray) -> None:
            kept.passed(blocks, states, (x for x in chosen if step(x)[0] not in self._folders))

        return collect_by_block(
            self.checkpoint,
            self.asked.calibration,
            fisher,
            seed=self.asked.recipe.seed,
            progress=self._tell(f"calibrate to {name}"),
            shards=lambda function, works: self.session.run(function, (Work(*work) for work in works)),
            begin=kept.begin(missing),
            passed=passed,
        )

    def _metered(
        self, name: str, found: Iterator[tuple[LinearLayer, LayerStatistics | None]]
    ) -> Iterator[tuple[LinearLayer, LayerStatistics | None]]:
        """The same, the time that calibration takes counted as its own."""
        if self.asked.calibration is None:
            yield from found
            return
        again = name == "quantize" and self.asked.goal == "bal"
        stage = {"measure tiles": "calibrate", "quantize": "calibrate again" if again else "calibrate"}.get(name, name)
        while True:
            with self.meter.stage(stage):
                item = next(found, None)
            if item is None:
                return
            yield item

    def _tell(self, task: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(task, done, total)
