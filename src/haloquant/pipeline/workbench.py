"""One job's inputs and its steps, each made when it is needed and found again by the hash of what went into it."""

from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from haloquant.config import Recipe
from haloquant.lm.calibration import Fisher, collect
from haloquant.lm.calibration_cache import VERSION, load_statistics, save_statistics
from haloquant.lm.checkpoint import read_weight
from haloquant.lm.folding import Fold, folds
from haloquant.lm.model import load_model
from haloquant.lm.perplexity import default_window
from haloquant.pipeline import halo, methods
from haloquant.pipeline.arrays import keep_arrays, kept_arrays, load_arrays, save_arrays
from haloquant.pipeline.hardware import Classes, choose_classes
from haloquant.pipeline.inputs import Inputs, Progress
from haloquant.pipeline.kept import (
    Method,
    load_classes,
    load_method,
    load_packed,
    save_classes,
    save_method,
    save_packed,
)
from haloquant.pipeline.outcome import versions
from haloquant.pipeline.transformed import NOTE, Transformed, apply, find_scales
from haloquant.quant.baselines import rival
from haloquant.quant.codebook import sample_groups
from haloquant.quant.sensitivity import importance
from haloquant.quant.tiles import layer_tiles, make_grid
from haloquant.quant.weight import dequantize
from haloquant.store.steps import Steps
from haloquant.types import BitCount, LayerStatistics, MacProfile, QuantizedWeight


class Workbench:
    """One job's inputs, and its steps as they are needed; what is loaded stays loaded."""

    def __init__(self, recipe: Recipe, inputs: Inputs, profile: MacProfile, out: Path, progress: Progress) -> None:
        self.recipe, self.inputs, self.profile, self.progress = recipe, inputs, profile, progress
        self.steps = Steps(out / "steps", versions())
        self.reused: list[str] = []
        self.folders: dict[str, Path] = {}
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

        return load_statistics(self._step(name, [VERSION, self._calibration_key()], make) / "statistics.safetensors")

    @cached_property
    def row_hessians(self) -> dict[str, np.ndarray]:
        """What attention makes of errors in queries, keys and values, by head; empty where these are not separate."""
        text, limit = self.inputs.calibration, self.recipe.text.calibration_tokens

        def make(folder: Path) -> None:
            tell = partial(self.progress, "row Hessians")
            found = methods.row_hessians(self.model, self.inputs.checkpoint, text.tokens, limit, tell)
            keep_arrays(folder / "rows.safetensors", found)

        return kept_arrays(self._step("row-hessians", self._calibration_key(), make) / "rows.safetensors")

    @cached_property
    def transformed(self) -> Transformed:
        """The layers as HALO sees them: behind the recipe's transform, or as they are."""
        transform = self.recipe.quantize.transform
        if transform == "none":
            return Transformed(self.weights, self.statistics, {}, {})

        def make(folder: Path) -> None:
            tell = partial(self.progress, f"{transform} scales")
            scales = find_scales(transform, self.weights, self.statistics, self.places, tell)
            keep_arrays(folder / "scales.safetensors", scales)

        key = [transform, "powers of two, folded", self._calibration_key()]
        scales = kept_arrays(self._step("transform", key, make) / "scales.safetensors")
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
            self._profile_key(),
            self.recipe.hardware,
            asked.fast_words,
            asked.slow_words,
            asked.fast_loss_db,
            asked.slow_loss_db,
            asked.transform,
        ]
        return load_classes(self._step("classes", key, make), self.profile, self.corner)

    @cached_property
    def allocator(self) -> halo.Allocator:
        """What each class costs every tile, and the sweep over allocations."""
        grids = halo.grids_of(self.shapes, self.recipe.hardware.tile)

        def make(folder: Path) -> None:
            seen, tell = self.transformed, partial(self.progress, "measure tiles")
            losses = halo.tile_losses(seen.weights, seen.statistics, grids, self.classes, self.recipe, tell)
            save_arrays(folder / "losses.safetensors", {"loss": losses})

        folder = self._step("tile-losses", self._halo_key(), make)
        return halo.allocator(grids, load_arrays(folder / "losses.safetensors")["loss"], self.classes)

    def all_methods(self) -> dict[str, Method]:
        """Full precision, the references, the rivals and HALO's goals, by name."""
        made = {"fp16": self.reference()}
        for name, rival_name in methods.REFERENCES.items():
            made[name] = self.rival(name, rival_name)
        for name in self.recipe.quantize.rivals:
            if name not in methods.REFERENCES.values():
                made[name] = self.rival(name, name)
        for goal in self.recipe.quantize.goals:
            made[f"halo-{goal}"] = self.halo(f"halo-{goal}", self.allocator.stop(goal))
        return made

    def between(self) -> dict[str, Method]:
        """Points of the sweep between the goals, for the Pareto front."""
        last = len(self.allocator.path.cost) - 1
        goals = {self.allocator.stop(goal) for goal in self.recipe.quantize.goals}
        stops = [round(last * share) for share in self.recipe.quantize.sweep]
        return {f"halo-{s}": self.halo(f"halo-{s}", s) for s in dict.fromkeys(stops) if s not in goals}

    def reference(self) -> Method:
        """Full precision: 16 bits a weight, a floating-point multiplier."""

        def make(folder: Path) -> None:
            accuracy = self._evaluate("fp16", {})
            count = sum(o * i for o, i in self.shapes.values())
            save_method(folder, Method("fp16", accuracy, BitCount(weights=count, codes=16 * count), (), {}))

        return load_method(self._step("fp16", self._evaluation_key(), make))

    def rival(self, name: str, rival_name: str) -> Method:
        """A rival, by its preset's name, called `name` in the tables."""
        chosen = rival(rival_name)

        def make(folder: Path) -> None:
            known = self.token_statistics if chosen.by_token else self.statistics
            rows = self.row_hessians if chosen.by_head else None
            tell = partial(self.progress, f"quantize {name}")
            found = methods.quantize_rival(rival_name, self.weights, known, tell, rows)
            tile = self.recipe.hardware.tile
            tiles = {
                layer: seen
                for layer, made in found.items()
                if (
                    seen := methods.array_tiles(
                        made, make_grid(*self.shapes[layer], tile, tile), self.profile, self.corner
                    )
                )
                is not None
            }
            bits = sum((made.bits for made in found.values()), BitCount())
            notes = dict.fromkeys(note for made in found.values() for note in made.notes)
            accuracy = self._evaluate(name, {layer: made.weight for layer, made in found.items()})
            save_method(folder, Method(name, accuracy, bits, tuple(notes), tiles))

        key = [rival_name, chosen.by_head, chosen.by_token, self._evaluation_key(), self._profile_key()]
        return load_method(self._step(name, key, make))

    def halo(self, name: str, stop: int) -> Method:
        """HALO with the classes that a stop of the sweep gives the tiles; the packed layers are kept."""
        maps = self.allocator.maps(stop)

        def make(folder: Path) -> None:
            seen = self.transformed
            tell = partial(self.progress, f"quantize {name}")
            found = halo.quantize(seen.weights, seen.statistics, maps, self.classes, self.recipe, tell)
            save_packed(folder, found)
            tiles = {layer: layer_tiles(q) for layer, q in found.items()}
            bits = sum((seen.bits for seen in tiles.values()), BitCount())
            rounded = {layer: seen.undo(layer, dequantize(q)) for layer, q in found.items()}
            transform = self.recipe.quantize.transform
            notes = () if transform == "none" else (NOTE.format(transform, len(seen.scales), len(found)),)
            save_method(folder, Method(name, self._evaluate(name, rounded, seen.scales), bits, notes, tiles))

        classes = [maps[layer].codebook.tolist() for layer in self.shapes]
        return load_method(self._step(name, [classes, self._evaluation_key(), self._halo_key()], make))

    def packed(self, name: str) -> list[QuantizedWeight]:
        """The layers of a HALO method that was made."""
        tile = self.recipe.hardware.tile
        return load_packed(self.folders[name], tuple(self.shapes), self.classes.codebooks[:-1], tile)

    def _halo_key(self) -> list[object]:
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

    def _evaluate(
        self, name: str, weights: dict[str, np.ndarray], input_scale: Mapping[str, np.ndarray] | None = None
    ) -> methods.Accuracy:
        return methods.evaluate(
            self.model,
            weights,
            self.inputs.evaluation.tokens,
            self.recipe,
            lambda d, t: self.progress(f"evaluate {name}", d, t),
            input_scale,
        )

    def _calibration_key(self) -> list[object]:
        text = self.inputs.calibration
        return [self.inputs.model_sha256, self.recipe.model.exclude, text.sha256, self.recipe.text.calibration_tokens]

    def _evaluation_key(self) -> list[object]:
        text = self.inputs.evaluation
        return [
            self._calibration_key(),
            text.sha256,
            self.recipe.text.evaluation_tokens,
            self.recipe.quantize.activations,
            self.recipe.hardware.tile,
        ]

    def _profile_key(self) -> list[object]:
        return [self.profile.name, dict(self.profile.provenance), self.profile.delay_s.tolist()]

    def _step(self, name: str, inputs: object, make: Any) -> Path:
        folder, reused = self.steps.run(name, inputs, make)
        self.folders[name] = folder
        if reused:
            self.reused.append(name)
        return folder
