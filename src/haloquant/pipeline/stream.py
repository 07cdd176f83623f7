"""Quantize a checkpoint of any size: a layer at a time, resumable from finished layers, written packed at the end.

Without calibration nothing of torch is needed and every weight of a layer counts alike. With it, one decoder block is
in memory at a time. The balanced goal needs every tile's losses before any class is given, so it passes twice.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haloquant.config import Goal, Recipe
from haloquant.errors import InputError
from haloquant.lm.checkpoint import Checkpoint, LinearLayer, content_hash, read_weight
from haloquant.lm.export import export_packed
from haloquant.pipeline import halo
from haloquant.pipeline.arrays import load_arrays, save_arrays
from haloquant.pipeline.hardware import Classes, choose_classes
from haloquant.pipeline.inputs import Progress, silent
from haloquant.pipeline.kept import load_classes, load_packed, save_classes, save_packed
from haloquant.pipeline.outcome import profile_sha256, versions
from haloquant.pipeline.transformed import refuse
from haloquant.quant.codebook import sample_groups
from haloquant.quant.loss import kronecker_losses
from haloquant.quant.sensitivity import tile_sums, uniform_importance
from haloquant.quant.tiles import check_accumulation, make_grid, uniform_map
from haloquant.quant.weight import dequantize
from haloquant.store.files import claim_output, content_key, finished, sole_user, sweep_leftovers
from haloquant.store.steps import Steps
from haloquant.types import BitCount, LayerStatistics, MacProfile, QuantizedWeight, TileMap

SAMPLED_LAYERS = 12


@dataclass(frozen=True)
class Stream:
    """What `quantize_checkpoint` left."""

    folder: Path
    bits: BitCount
    layers: int
    reused: int
    source: str  # how sensitivity was had


@dataclass(frozen=True)
class Asked:
    """One quantization asked for: everything its result depends on beside the checkpoint."""

    profile: MacProfile
    goal: Goal
    recipe: Recipe
    calibration: np.ndarray | None  # windows of tokens [samples, window]; None: data-free
    source: str


def quantize_checkpoint(checkpoint: Checkpoint, asked: Asked, out: Path, progress: Progress = silent) -> Stream:
    """Quantize every linear layer and write the packed model to `out`; a rerun goes on from finished layers.

    Layers and codebooks are kept in `<out>.work` until the model is whole, then removed.

    Raises:
        InputError: `out` exists and is not a model that this very call would write.
        BusyError: another run works on the same output.
    """
    refuse(asked.recipe.quantize.transform)
    model = content_hash(checkpoint)
    key = content_key(model, _settings(asked))
    work = out.with_name(f"{out.name}.work")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"the output folder {out} must be empty or not exist yet, and it holds files; name another")
    claim_output(work)
    with sole_user(work):
        sweep_leftovers(out)
        bench = _Bench(checkpoint, asked, Steps(work / "steps", versions()), key, progress)
        exported = export_packed(
            checkpoint,
            bench.layers(),
            out,
            profile_name=asked.profile.name,
            profile_sha256=profile_sha256(asked.profile),
            made_by={**versions(), "goal": asked.goal, "source": asked.source},
        )
        bench.clear(work)
    return Stream(out, exported.bits, len(checkpoint.layers), bench.reused, asked.source)


def _settings(asked: Asked) -> list[object]:
    tokens = None if asked.calibration is None else content_key(asked.calibration.tolist())
    quantize, hardware = asked.recipe.quantize, asked.recipe.hardware
    return [profile_sha256(asked.profile), asked.goal, tokens, quantize, hardware.tile, hardware.margin]


class _Bench:
    """The passes over one checkpoint; every finished layer is a step."""

    def __init__(self, checkpoint: Checkpoint, asked: Asked, steps: Steps, key: str, progress: Progress) -> None:
        self.checkpoint, self.asked, self.steps, self.key, self.progress = checkpoint, asked, steps, key, progress
        self.reused = 0
        tile = asked.recipe.hardware.tile
        self.grids = {x.name: make_grid(x.out_features, x.in_features, tile, tile) for x in checkpoint.layers}

    def classes(self) -> Classes:
        """Codebooks from a sample of the layers."""
        asked = self.asked.recipe.quantize
        tile = self.asked.recipe.hardware.tile

        def make(folder: Path) -> None:
            every = max(1, len(self.checkpoint.layers) // SAMPLED_LAYERS)
            pairs = (
                (read_weight(self.checkpoint, layer), uniform_importance(layer.in_features))
                for layer in self.checkpoint.layers[::every]
            )
            sample = sample_groups(pairs, make_grid(tile, tile, tile, tile), per_layer=24)
            sizes = (("fast", asked.fast_words, asked.fast_loss_db), ("slow", asked.slow_words, asked.slow_loss_db))
            margin = self.asked.recipe.hardware.margin
            tell = self._tell("choose codebooks")
            save_classes(folder, choose_classes(self.asked.profile, 0, sample, sizes, margin, tell))

        folder, _ = self.steps.run("classes", self.key, make)
        return load_classes(folder, self.asked.profile, 0)

    def layers(self) -> Iterator[QuantizedWeight]:
        """Every layer in HALO form, in order."""
        classes = self.classes()
        maps = self._maps(classes)
        tell = self._tell("quantize")
        total = len(self.checkpoint.layers)
        for done, (layer, known) in enumerate(self._statistics(("layer", maps))):
            yield self._layer(layer, maps[layer.name], known, classes)
            tell(done + 1, total)

    def _maps(self, classes: Classes) -> Mapping[str, TileMap]:
        """The class of every tile: one class for all at the ends of the sweep, the knee's in between."""
        ends = {"perf-opt": halo.FAST, "acc-opt": halo.SLOW}
        if self.asked.goal in ends:
            return {name: uniform_map(name, grid, ends[self.asked.goal]) for name, grid in self.grids.items()}
        parts: list[np.ndarray] = []
        tell = self._tell("measure tiles")
        for done, (layer, known) in enumerate(self._statistics(("losses", None))):
            parts.append(self._losses(layer, known, classes))
            tell(done + 1, len(self.grids))
        path = halo.allocator(self.grids, np.concatenate(parts), classes)
        return path.maps(path.stop(self.asked.goal))

    def _losses(self, layer: LinearLayer, known: LayerStatistics | None, classes: Classes) -> np.ndarray:
        """Loss of every tile of a layer in each class, [tiles, classes]."""
        grid = self.grids[layer.name]

        def make(folder: Path) -> None:
            weight = read_weight(self.checkpoint, layer)
            columns: list[np.ndarray] = []
            for index in range(len(classes.codebooks) - 1):
                made = self._round(weight, uniform_map(layer.name, grid, index), known, classes)
                error = weight - dequantize(made)
                if known is None:
                    # Data-free: squared error relative to the layer's own energy, so that layers compare.
                    part = tile_sums(error**2, grid) / float(np.mean(weight.astype(np.float64) ** 2) or 1.0)
                else:
                    part = kronecker_losses(weight, weight - error, known, grid)
                columns.append(part.reshape(-1))
            save_arrays(folder / "losses.safetensors", {"loss": np.maximum(np.stack(columns, axis=1), 0.0)})

        folder, _ = self.steps.run(f"losses-{layer.name}", self.key, make)
        return load_arrays(folder / "losses.safetensors")["loss"]

    def _layer(
        self, layer: LinearLayer, tile_map: TileMap, known: LayerStatistics | None, classes: Classes
    ) -> QuantizedWeight:
        books = classes.codebooks[:-1]

        def make(folder: Path) -> None:
            check_accumulation(layer.name, layer.in_features, books)
            weight = read_weight(self.checkpoint, layer)
            save_packed(folder, {layer.name: self._round(weight, tile_map, known, classes)})

        folder, reused = self.steps.run(f"layer-{layer.name}", [self.key, tile_map.codebook.tolist()], make)
        self.reused += reused
        return load_packed(folder, (layer.name,), books, self.asked.recipe.hardware.tile)[0]

    def _round(
        self,
        weight: np.ndarray,
        tile_map: TileMap,
        known: LayerStatistics | None,
        classes: Classes,
    ) -> QuantizedWeight:
        asked = self.asked.recipe.quantize
        return halo.one_layer(weight, known, tile_map, classes, asked.sparse_budget, asked.compensate, asked.refine)

    def _statistics(self, use: tuple[str, object]) -> Iterator[tuple[LinearLayer, LayerStatistics | None]]:
        """Layers in order with what calibration knows of them; data-free, or where all steps stand, without a pass."""
        if self.asked.calibration is None or self._all_done(use):
            return ((layer, None) for layer in self.checkpoint.layers)
        from haloquant.lm.calibration_stream import collect_by_block

        return collect_by_block(self.checkpoint, self.asked.calibration, seed=self.asked.recipe.seed)

    def _all_done(self, use: tuple[str, object]) -> bool:
        """Whether every layer of a pass is a finished step, so that its statistics are not wanted."""
        name, maps = use
        for layer in self.checkpoint.layers:
            inputs: object = self.key
            if isinstance(maps, dict):
                inputs = [self.key, maps[layer.name].codebook.tolist()]
            key = self.steps.key(f"{name}-{layer.name}", inputs)
            if not finished(self.steps.root / f"{name}-{layer.name}-{key[:12]}", key):
                return False
        return True

    def _tell(self, task: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(task, done, total)

    def clear(self, work: Path) -> None:
        """The model is whole: what was kept to resume from goes."""
        shutil.rmtree(work)
