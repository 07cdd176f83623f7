"""The inputs of one job and the steps that its methods share: calibration, transform, codebooks, losses of tiles.

A step is made when it is first needed. A rerun finds it by the hash of everything that it depends on.
"""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from haloquant.dvfs.classes import Classes, choose_classes
from haloquant.jobs.compare.rivals import row_hessians
from haloquant.jobs.engine.threads import one_thread
from haloquant.jobs.inputs import Inputs, Progress
from haloquant.jobs.provenance import versions
from haloquant.jobs.quantize.allocation import Allocator, build_allocator, layer_grids
from haloquant.jobs.quantize.tile_losses import predict_tile_losses, tile_sensitivities
from haloquant.jobs.quantize.transform import Transformed, apply_scales, find_scales
from haloquant.jobs.step_files import load_classes, load_packed, save_classes
from haloquant.lm.calibration.in_memory import Fisher, collect
from haloquant.lm.calibration.statistics_file import VERSION, load_statistics, save_statistics
from haloquant.lm.checkpoint.reader import read_weight
from haloquant.lm.evaluation.perplexity import default_window
from haloquant.lm.export.folding import Fold, folds
from haloquant.lm.torch_model import load_model
from haloquant.quant.codebook import sample_groups
from haloquant.quant.format.packing import PackedWeight
from haloquant.quant.sensitivity import importance
from haloquant.quant.tiles import make_grid
from haloquant.recipe import Recipe
from haloquant.records import LayerStatistics, MacProfile
from haloquant.store.arrays import load_arrays, load_arrays_if_any, save_arrays, save_arrays_if_any
from haloquant.store.finished_steps import Steps


class JobSteps:
    """The inputs of one job and its shared steps; loaded data stay in memory.

    `reused` names the steps that were finished before this run. `folders` holds the folder of every step by its name.
    `fresh` names the steps whose files workers of this run made.
    """

    def __init__(self, recipe: Recipe, inputs: Inputs, profile: MacProfile, out: Path, progress: Progress) -> None:
        self.recipe, self.inputs, self.profile, self.progress = recipe, inputs, profile, progress
        self.steps = Steps(out / "steps", versions())
        self.reused: list[str] = []
        self.folders: dict[str, Path] = {}
        self.fresh: set[str] = set()
        self.corner = 0

    @cached_property
    def model(self) -> Any:
        """The full-precision model."""
        return load_model(self.inputs.checkpoint.folder)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """The weight [out, in] of every linear layer."""
        return {layer.name: read_weight(self.inputs.checkpoint, layer) for layer in self.inputs.checkpoint.layers}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """The shape (out, in) of every linear layer."""
        return {layer.name: (layer.out_features, layer.in_features) for layer in self.inputs.checkpoint.layers}

    @cached_property
    def statistics(self) -> dict[str, LayerStatistics]:
        """The statistics that calibration measures of every layer."""
        return self._calibrated("calibrate", "sample")

    @cached_property
    def token_statistics(self) -> dict[str, LayerStatistics]:
        """Statistics with the Fisher information of single tokens and no Hessian, for rivals that use them."""
        return self._calibrated("calibrate-by-token", "token")

    def _calibrated(self, name: str, fisher: Fisher) -> dict[str, LayerStatistics]:
        """Calibrate in the step `name`, with the Fisher information of `fisher`."""
        tokens, limit = self.inputs.calibration.tokens, self.recipe.text.calibration_tokens
        tell = partial(self.progress, name.replace("-", " "))

        def make(folder: Path) -> None:
            count = max(1, (limit or len(tokens)) // default_window(self.model))
            found = collect(self.model, tokens, tuple(self.shapes), None, count, None, fisher, fisher == "sample", tell)
            save_statistics(folder / "statistics.safetensors", found)

        return load_statistics(self.step(name, [VERSION, self._calibration_key()], make) / "statistics.safetensors")

    @cached_property
    def row_hessians(self) -> dict[str, np.ndarray]:
        """How attention weighs errors in the rows of queries, keys and values (`rivals.row_hessians`)."""
        text, limit = self.inputs.calibration, self.recipe.text.calibration_tokens

        def make(folder: Path) -> None:
            tell = partial(self.progress, "row Hessians")
            found = row_hessians(self.model, self.inputs.checkpoint, text.tokens, limit, tell)
            save_arrays_if_any(folder / "rows.safetensors", found)

        return load_arrays_if_any(self.step("row-hessians", self._calibration_key(), make) / "rows.safetensors")

    @cached_property
    def transformed(self) -> Transformed:
        """The layers that HALO quantizes: after the recipe's transform, or unchanged without one."""
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
        return apply_scales(scales, self.places, self.weights, self.statistics)

    @cached_property
    def places(self) -> tuple[Fold, ...]:
        """The inputs whose scale can be folded into the layer that makes them."""
        return folds(self.inputs.checkpoint)

    @cached_property
    def sensitivity(self) -> dict[str, np.ndarray]:
        """The sensitivity of every tile [tiles down, tiles across] of every layer."""
        return tile_sensitivities(self.shapes, self.transformed.statistics, self.recipe.hardware.tile)

    @cached_property
    def classes(self) -> Classes:
        """The codebooks that are chosen for this MAC and this model."""
        settings, tile = self.recipe.quantize, self.recipe.hardware.tile

        def make(folder: Path) -> None:
            grid = make_grid(tile, tile, tile, tile)
            seen = self.transformed
            pairs = (
                (weight, importance(seen.statistics[name], weight.shape[1])) for name, weight in seen.weights.items()
            )
            sample = sample_groups(pairs, grid, per_layer=8)
            chosen = choose_classes(
                self.profile,
                self.corner,
                sample,
                settings.class_sizes(),
                self.recipe.hardware.margin,
                lambda d, t: self.progress("choose codebooks", d, t),
            )
            save_classes(folder, chosen)

        key = [
            self._calibration_key(),
            self.profile_key(),
            self.recipe.hardware,
            settings.fast_words,
            settings.slow_words,
            settings.fast_loss_db,
            settings.slow_loss_db,
            settings.transform,
        ]
        return load_classes(self.step("classes", key, make), self.profile, self.corner)

    @cached_property
    def allocator(self) -> Allocator:
        """The predicted loss of every tile in every class, and the path of allocations."""
        grids = layer_grids(self.shapes, self.recipe.hardware.tile)

        def make(folder: Path) -> None:
            seen, tell = self.transformed, partial(self.progress, "measure tiles")
            with one_thread():
                losses = predict_tile_losses(seen.weights, seen.statistics, grids, self.classes, self.recipe, tell)
            save_arrays(folder / "losses.safetensors", {"loss": losses})

        folder = self.step("tile-losses", self.halo_key(), make)
        return build_allocator(grids, load_arrays(folder / "losses.safetensors")["loss"], self.classes)

    def packed(self, name: str) -> list[PackedWeight]:
        """Return the layers of a HALO method whose step is finished."""
        tile = self.recipe.hardware.tile
        return load_packed(self.folders[name], tuple(self.shapes), self.classes.codebooks[:-1], tile)

    def halo_key(self) -> list[object]:
        """Return the inputs of every HALO method besides the classes of its tiles."""
        settings = self.recipe.quantize
        books = [[b.name, b.values.tolist(), b.point.frequency_hz] for b in self.classes.codebooks]
        return [
            self._calibration_key(),
            books,
            self.recipe.hardware.tile,
            settings.sparse_budget,
            settings.compensate,
            settings.refine,
            settings.transform,
        ]

    def _calibration_key(self) -> list[object]:
        """Return the inputs of the statistics."""
        text = self.inputs.calibration
        return [self.inputs.model_sha256, self.recipe.model.exclude, text.sha256, self.recipe.text.calibration_tokens]

    def evaluation_key(self) -> list[object]:
        """Return the inputs of the accuracy of every method."""
        text = self.inputs.evaluation
        return [
            self._calibration_key(),
            text.sha256,
            self.recipe.text.evaluation_tokens,
            self.recipe.quantize.activations,
            self.recipe.hardware.tile,
        ]

    def profile_key(self) -> list[object]:
        """Return the values that identify the MAC."""
        return [self.profile.name, dict(self.profile.provenance), self.profile.delay_s.tolist()]

    def step(self, name: str, inputs: object, make: Callable[[Path], None]) -> Path:
        """Return the folder of a step; `make` fills it now unless the step is finished already."""
        folder, reused = self.steps.run(name, inputs, make)
        self.folders[name] = folder
        if reused and name not in self.fresh:
            self.reused.append(name)
        return folder
