"""One job's inputs and its steps, each made when it is needed and found again by the hash of what went into it."""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from haloquant.dvfs.classes import Classes, choose_classes
from haloquant.jobs.compare import methods
from haloquant.jobs.compare.stored import load_classes, load_packed, save_classes
from haloquant.jobs.engine.threads import one_thread
from haloquant.jobs.inputs import Inputs, Progress
from haloquant.jobs.provenance import versions
from haloquant.jobs.quantize import halo
from haloquant.jobs.quantize.transform import Transformed, apply, find_scales
from haloquant.lm.calibration.in_memory import Fisher, collect
from haloquant.lm.calibration.statistics_file import VERSION, load_statistics, save_statistics
from haloquant.lm.checkpoint.reader import read_weight
from haloquant.lm.evaluation.perplexity import default_window
from haloquant.lm.export.folding import Fold, folds
from haloquant.lm.torch_model import load_model
from haloquant.quant.codebook import sample_groups
from haloquant.quant.sensitivity import importance
from haloquant.quant.tiles import make_grid
from haloquant.recipe import Recipe
from haloquant.records import LayerStatistics, MacProfile, QuantizedWeight
from haloquant.store.arrays import load_arrays, load_arrays_if_any, save_arrays, save_arrays_if_any
from haloquant.store.steps import Steps


class Workbench:
    """One job's inputs, and its steps as they are needed; what is loaded stays loaded."""

    def __init__(self, recipe: Recipe, inputs: Inputs, profile: MacProfile, out: Path, progress: Progress) -> None:
        self.recipe, self.inputs, self.profile, self.progress = recipe, inputs, profile, progress
        self.steps = Steps(out / "steps", versions())
        self.reused: list[str] = []
        self.folders: dict[str, Path] = {}
        self.fresh: set[str] = set()  # steps that workers made for this very job
        self.corner = 0

    @cached_property
    def model(self) -> Any:
        """The full-precision model."""
        return load_model(self.inputs.checkpoint.folder)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """Every linear layer's weight."""
        return {layer.name: read_weight(self.inputs.checkpoint, layer) for layer in self.inputs.checkpoint.layers}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Every linear layer's [out, in]."""
        return {layer.name: (layer.out_features, layer.in_features) for layer in self.inputs.checkpoint.layers}

    @cached_property
    def statistics(self) -> dict[str, LayerStatistics]:
        """What calibration knows of every layer."""
        return self._calibrated("calibrate", "sample")

    @cached_property
    def token_statistics(self) -> dict[str, LayerStatistics]:
        """With the Fisher of single tokens and no Hessian, for rivals that ask for it."""
        return self._calibrated("calibrate-by-token", "token")

    def _calibrated(self, name: str, fisher: Fisher) -> dict[str, LayerStatistics]:
        tokens, limit = self.inputs.calibration.tokens, self.recipe.text.calibration_tokens
        tell = partial(self.progress, name.replace("-", " "))

        def make(folder: Path) -> None:
            count = max(1, (limit or len(tokens)) // default_window(self.model))
            found = collect(self.model, tokens, tuple(self.shapes), None, count, None, fisher, fisher == "sample", tell)
            save_statistics(folder / "statistics.safetensors", found)

        return load_statistics(self.step(name, [VERSION, self._calibration_key()], make) / "statistics.safetensors")

    @cached_property
    def row_hessians(self) -> dict[str, np.ndarray]:
        """What attention makes of errors in queries, keys and values, by head; empty where these are not separate."""
        text, limit = self.inputs.calibration, self.recipe.text.calibration_tokens

        def make(folder: Path) -> None:
            tell = partial(self.progress, "row Hessians")
            found = methods.row_hessians(self.model, self.inputs.checkpoint, text.tokens, limit, tell)
            save_arrays_if_any(folder / "rows.safetensors", found)

        return load_arrays_if_any(self.step("row-hessians", self._calibration_key(), make) / "rows.safetensors")

    @cached_property
    def transformed(self) -> Transformed:
        """The layers as HALO sees them: behind the recipe's transform, or as they are."""
        transform = self.recipe.quantize.transform
        if transform == "none":
            return Transformed(self.weights, self.statistics, {}, {})

        def make(folder: Path) -> None:
            tell = partial(self.progress, f"{transform} scales")
            with one_thread():
                scales = find_scales(transform, self.weights, self.statistics, self.places, tell)
            save_arrays_if_any(folder / "scales.safetensors", scales)

        key = [transform, "powers of two, folded", self._calibration_key()]
        scales = load_arrays_if_any(self.step("transform", key, make) / "scales.safetensors")
        return apply(scales, self.places, self.weights, self.statistics)

    @cached_property
    def places(self) -> tuple[Fold, ...]:
        """Where the scales of a transform can go."""
        return folds(self.inputs.checkpoint)

    @cached_property
    def sensitivity(self) -> dict[str, np.ndarray]:
        """Sensitivity of every tile."""
        return halo.scores(self.shapes, self.transformed.statistics, self.recipe.hardware.tile)

    @cached_property
    def classes(self) -> Classes:
        """The codebooks this MAC and this model lead to."""
        asked, tile = self.recipe.quantize, self.recipe.hardware.tile

        def make(folder: Path) -> None:
            grid = make_grid(tile, tile, tile, tile)
            seen = self.transformed
            pairs = (
                (weight, importance(seen.statistics[name], weight.shape[1])) for name, weight in seen.weights.items()
            )
            sample = sample_groups(pairs, grid, per_layer=8)
            sizes = (("fast", asked.fast_words, asked.fast_loss_db), ("slow", asked.slow_words, asked.slow_loss_db))
            chosen = choose_classes(
                self.profile,
                self.corner,
                sample,
                sizes,
                self.recipe.hardware.margin,
                lambda d, t: self.progress("choose codebooks", d, t),
            )
            save_classes(folder, chosen)

        key = [
            self._calibration_key(),
            self.profile_key(),
            self.recipe.hardware,
            asked.fast_words,
            asked.slow_words,
            asked.fast_loss_db,
            asked.slow_loss_db,
            asked.transform,
        ]
        return load_classes(self.step("classes", key, make), self.profile, self.corner)

    @cached_property
    def allocator(self) -> halo.Allocator:
        """What each class costs every tile, and the sweep over allocations."""
        grids = halo.grids_of(self.shapes, self.recipe.hardware.tile)

        def make(folder: Path) -> None:
            seen, tell = self.transformed, partial(self.progress, "measure tiles")
            with one_thread():
                losses = halo.tile_losses(seen.weights, seen.statistics, grids, self.classes, self.recipe, tell)
            save_arrays(folder / "losses.safetensors", {"loss": losses})

        folder = self.step("tile-losses", self.halo_key(), make)
        return halo.allocator(grids, load_arrays(folder / "losses.safetensors")["loss"], self.classes)

    def packed(self, name: str) -> list[QuantizedWeight]:
        """The layers of a HALO method that was made."""
        tile = self.recipe.hardware.tile
        return load_packed(self.folders[name], tuple(self.shapes), self.classes.codebooks[:-1], tile)

    def halo_key(self) -> list[object]:
        """What every HALO method depends on, beside the classes of its tiles."""
        asked = self.recipe.quantize
        books = [[b.name, b.values.tolist(), b.point.frequency_hz] for b in self.classes.codebooks]
        return [
            self._calibration_key(),
            books,
            self.recipe.hardware.tile,
            asked.sparse_budget,
            asked.compensate,
            asked.refine,
            asked.transform,
        ]

    def _calibration_key(self) -> list[object]:
        text = self.inputs.calibration
        return [self.inputs.model_sha256, self.recipe.model.exclude, text.sha256, self.recipe.text.calibration_tokens]

    def evaluation_key(self) -> list[object]:
        """What every method's accuracy depends on."""
        text = self.inputs.evaluation
        return [
            self._calibration_key(),
            text.sha256,
            self.recipe.text.evaluation_tokens,
            self.recipe.quantize.activations,
            self.recipe.hardware.tile,
        ]

    def profile_key(self) -> list[object]:
        """What depends on the MAC."""
        return [self.profile.name, dict(self.profile.provenance), self.profile.delay_s.tolist()]

    def step(self, name: str, inputs: object, make: Callable[[Path], None]) -> Path:
        """The folder of a step, made now unless it was before."""
        folder, reused = self.steps.run(name, inputs, make)
        self.folders[name] = folder
        if reused and name not in self.fresh:
            self.reused.append(name)
        return folder
