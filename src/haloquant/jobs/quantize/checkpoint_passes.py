"""The passes over a checkpoint: scales of a transform, codebooks, the loss of every tile, and the quantized layers.

`jobs.quantize.job` makes one model with them; `jobs.compare` makes a model for each goal, and the layers of
rivals in the same pass.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from haloquant.dvfs.classes import Classes
from haloquant.jobs.engine.tasks import Arrays, Work
from haloquant.jobs.engine.threads import one_thread
from haloquant.jobs.quantize.allocation import Allocator, choose_allocator, layer_grids, words_of
from haloquant.jobs.quantize.budgets import budget_resources
from haloquant.jobs.quantize.class_words import choose_words
from haloquant.jobs.quantize.layer_costs import LayerCosts, layer_costs
from haloquant.jobs.quantize.layer_rounding import RoundingSettings
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
from haloquant.jobs.quantize.task_runner import LayerPass, LayerStep, StepKey, TaskRunner
from haloquant.jobs.quantize.transform import divided_rows, scale_layer
from haloquant.jobs.step_files import load_classes, load_packed, save_classes, save_packed
from haloquant.lm.calibration.expert_stand_ins import few_tokens
from haloquant.lm.checkpoint.full_precision_layers import name_kinds
from haloquant.lm.checkpoint.linear_layers import expert_family
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer, read_weight
from haloquant.lm.export.folding import Fold, folded_tensors, folds
from haloquant.lm.export.model_folder import RawTensor
from haloquant.quant.budgets import check_feasible
from haloquant.quant.codebook import sample_groups
from haloquant.quant.format.packing import PackedWeight
from haloquant.quant.sensitivity import uniform_importance
from haloquant.quant.tiles import make_grid
from haloquant.records import LayerStatistics, TileMap
from haloquant.store.arrays import load_arrays, load_arrays_if_any, save_arrays, save_arrays_if_any

TOKENS = "tokens.safetensors"  # in the step of a layer of an expert, or that no token reached: the number of its tokens
SAMPLED_LAYERS = 12  # number of layers, about, whose weights the codebooks are chosen for
Maps = Mapping[str, TileMap]


def expert_notes(few: Mapping[str, int], experts: int) -> tuple[str, ...]:
    """Return a sentence on the experts that few calibration tokens reached.

    Args:
        few: Calibration tokens of each of their layers (`Passes.poor_experts`).
        experts: Number of layers of experts.
    """
    if not few:
        return ()
    none = sum(tokens == 0 for tokens in few.values())
    return (
        f"{len(few)} of {experts} layers of experts saw fewer calibration tokens than a quarter of their inputs, "
        f"{none} of them none: the mean Hessian of the layer's experts stands in; more windows (--samples) reach more",
    )


def unreached_notes(layers: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence on layers, experts' excepted, that no calibration token reached."""
    if not layers:
        return ()
    return (
        f"no calibration token reached {len(layers)} layers, as the model does not run them on text alone, so their "
        f"inputs count alike: {name_kinds(layers)}",
    )


class Passes:
    """The passes over one checkpoint. A pass is made when its result is first needed."""

    def __init__(self, checkpoint: Checkpoint, request: Request, runner: TaskRunner) -> None:
        self.checkpoint, self.request, self.runner = checkpoint, request, runner
        self.reused = 0  # layers that were finished by an earlier run
        self.tile = request.recipe.hardware.tile
        shapes = {layer.name: (layer.out_features, layer.in_features) for layer in checkpoint.layers}
        self.grids = layer_grids(shapes, self.tile)

    @cached_property
    def places(self) -> tuple[Fold, ...]:
        """The inputs whose scale can be folded into the tensors that make them; none without a transform."""
        return () if self.request.recipe.quantize.transform == "none" else folds(self.checkpoint)

    @cached_property
    def scales(self) -> dict[str, np.ndarray]:
        """The scales of the inputs of layers; none without a transform."""
        return self._find_scales() if self.places else {}

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """The divisors of the rows of layers; none without a transform."""
        return divided_rows(self.scales, self.places)

    @cached_property
    def classes(self) -> Classes:
        """The codebooks of the classes, chosen for a sample of the layers' weights."""

        def make(folder: Path) -> None:
            every = max(1, len(self.checkpoint.layers) // SAMPLED_LAYERS)
            pairs = (
                (self._weight(layer), uniform_importance(layer.in_features))
                for layer in self.checkpoint.layers[::every]
            )
            sample = sample_groups(pairs, make_grid(self.tile, self.tile, self.tile, self.tile), per_layer=24)
            with one_thread():
                chosen = choose_words(self.request, sample, self.runner.counter("choose codebooks"))
            save_classes(folder, chosen)

        scales = self.scales  # found first, in a stage of its own
        with self.runner.meter.stage("choose codebooks"):
            folder, _ = self.runner.steps.run("classes", [self.runner.key, bool(scales)], make)
            return load_classes(folder, self.request.profile, 0)

    @cached_property
    def allocator(self) -> Allocator:
        """The loss of every tile in every class, the path of allocations, and *bal* within the recipe's budgets."""
        self._check_budgets()
        loss, sparse_bits = self._tile_losses
        with self.runner.meter.stage("measure tiles"), one_thread():
            return self.allocate(loss, sparse_bits, lambda: self.sensitivity)

    def allocate(
        self, loss: np.ndarray, sparse_bits: float, sensitivity: Callable[[], Mapping[str, np.ndarray]]
    ) -> Allocator:
        """Return the path of allocations, and *bal* within the recipe's budgets (`allocation.choose_allocator`).

        Args:
            loss: Predicted loss [tiles, classes] in nats, without the base class.
            sparse_bits: Stored bits of the sparse part of all layers.
            sensitivity: Returns the sensitivity of every tile by layer.
        """
        settings = self.request.recipe.quantize
        return choose_allocator(settings, self.grids, loss, self.classes, sensitivity, self.layer_costs, sparse_bits)

    @cached_property
    def layer_costs(self) -> LayerCosts | None:
        """What the layers cost on the machine that the recipe names; None for the MAC's own costs."""
        return layer_costs(self.request.recipe, self.checkpoint, self.classes)

    @property
    def sparse_bits(self) -> float:
        """Stored bits of the sparse part of all layers."""
        return self._tile_losses[1]

    @cached_property
    def _tile_losses(self) -> tuple[np.ndarray, float]:
        """The loss of every tile in every class [tiles, classes], and the stored bits of the sparse part."""
        self._measure()
        measured = [load_arrays(self._measured(layer)) for layer in self.checkpoint.layers]
        losses = [arrays["loss"] for arrays in measured]
        return np.concatenate(losses), sum(float(arrays["sparse_bits"][0]) for arrays in measured)

    def _check_budgets(self) -> None:
        """Refuse budgets below what the cheapest classes take, before any layer is rounded.

        The sparse part is not known yet; `allocate` counts it.

        Raises:
            InfeasibleError: A budget is too small.
        """
        budget = self.request.recipe.quantize.budget
        if budget.limited:
            check_feasible(budget_resources(budget, self.grids, words_of(self.classes), self.layer_costs, 0.0))

    @cached_property
    def sensitivity(self) -> dict[str, np.ndarray]:
        """The sensitivity of every tile [tiles down, tiles across] by layer. It takes a calibration."""
        self._measure()
        return {layer.name: load_arrays(self._measured(layer))["sensitivity"] for layer in self.checkpoint.layers}

    @cached_property
    def input_maxima(self) -> dict[str, np.ndarray]:
        """The largest input [in] of each input feature by layer, for layers that calibration reached."""
        self._measure()
        stored = {layer.name: load_arrays(self._measured(layer)) for layer in self.checkpoint.layers}
        return {name: arrays["input_absmax"] for name, arrays in stored.items() if "input_absmax" in arrays}

    def quantize(self, maps: Sequence[Maps], others: Sequence[LayerStep] = ()) -> None:
        """Finish the layers of one or several models in one pass.

        Args:
            maps: The class of every tile by layer, for each model.
            others: Further steps for every layer, such as those of rivals.
        """
        steps = (*(self.layer_step(made) for made in maps), *others)
        chosen = LayerPass("quantize", self.checkpoint.layers, steps)
        self.reused += self.runner.run(chosen)

    def layer_step(self, maps: Maps) -> LayerStep:
        """Return the step that quantizes a layer with these classes."""

        def save(folder: Path, layer: LinearLayer, _: Any, arrays: Arrays) -> None:
            save_packed(folder, {layer.name: arrays})
            tokens = self.runner.tokens.get(layer.name)
            if tokens is not None and (tokens == 0 or expert_family(layer.name) is not None):
                save_arrays(folder / TOKENS, {"tokens": np.array([tokens], np.int64)})

        work = self._layer_work({name: part.codebook for name, part in maps.items()})
        return LayerStep(lambda layer: self._layer_key(maps, layer), quantize_layer, work, save)

    def layers(self, maps: Maps) -> Iterator[PackedWeight]:
        """Yield every layer in packed form, in the checkpoint's order. Call it after `quantize`."""
        for layer in self.checkpoint.layers:
            yield self.layer(maps, layer)

    def layer(self, maps: Maps, layer: LinearLayer) -> PackedWeight:
        """Return one layer in packed form. Call it after `quantize`."""
        folder = self.runner.folder(self._layer_key(maps, layer))
        return load_packed(folder, (layer.name,), self.classes.codebooks[:-1], self.tile)[0]

    @property
    def experts(self) -> int:
        """Number of layers that belong to experts."""
        return sum(expert_family(layer.name) is not None for layer in self.checkpoint.layers)

    def poor_experts(self, maps: Maps) -> dict[str, int]:
        """Return the calibration tokens of each expert's layer that saw too few of them. Call it after `quantize`."""
        known = ((layer, tokens) for layer, tokens in self._tokens(maps) if expert_family(layer.name) is not None)
        return {layer.name: tokens for layer, tokens in known if few_tokens(tokens, layer.in_features)}

    def unreached(self, maps: Maps) -> tuple[str, ...]:
        """Return the layers, experts' excepted, that no calibration token reached. Call it after `quantize`."""
        known = ((layer.name, tokens) for layer, tokens in self._tokens(maps) if expert_family(layer.name) is None)
        return tuple(name for name, tokens in known if tokens == 0)

    def _tokens(self, maps: Maps) -> Iterator[tuple[LinearLayer, int]]:
        """Yield the layers whose calibration tokens were kept, with their number."""
        for layer in self.checkpoint.layers:
            folder = self.runner.find(self._layer_key(maps, layer))
            if folder is not None and (file := folder / TOKENS).is_file():
                yield layer, int(load_arrays(file)["tokens"][0])

    def folded(self) -> dict[str, RawTensor]:
        """Return the norms and biases with the scales of a transform folded in."""
        return folded_tensors(self.checkpoint, self.places, self.scales)

    def _layer_key(self, maps: Maps, layer: LinearLayer) -> StepKey:
        return f"layer-{layer.name}", [self.runner.key, maps[layer.name].codebook.tolist()]

    def _measure(self) -> None:
        """Finish the step of every layer that measures its tiles."""

        def save(folder: Path, _: LinearLayer, __: Any, arrays: Arrays) -> None:
            save_arrays(folder / "losses.safetensors", arrays)

        step = LayerStep(self._losses_key, measure_layer, self._layer_work({}), save)
        self.runner.run(LayerPass("measure tiles", self.checkpoint.layers, (step,), kept=True))

    def _losses_key(self, layer: LinearLayer) -> StepKey:
        return f"losses-{layer.name}", self.runner.key

    def _measured(self, layer: LinearLayer) -> Path:
        return self.runner.folder(self._losses_key(layer)) / "losses.safetensors"

    def _weight(self, layer: LinearLayer) -> np.ndarray:
        """Return a layer's weight, after the transform if there is one."""
        return scale_layer(read_weight(self.checkpoint, layer), self.scales.get(layer.name), self.rows.get(layer.name))

    def _find_scales(self) -> dict[str, np.ndarray]:
        """Return the scale of every input that can be folded, by the layers that read it. It takes a calibration."""
        transform, tensors = self.request.recipe.quantize.transform, self.checkpoint.tensors
        layers = {layer.name: layer for layer in self.checkpoint.layers}
        first = {place.layers[0]: place for place in self.places}

        def key(layer: LinearLayer) -> StepKey:
            return f"scale-{layer.name}", self.runner.key

        def save(folder: Path, _: LinearLayer, __: Any, arrays: Arrays) -> None:
            save_arrays_if_any(folder / "scale.safetensors", arrays)

        def work(layer: LinearLayer, known: LayerStatistics | None) -> Work:
            place = first[layer.name]
            readers = tuple(layers[name] for name in place.layers)
            read = tuple(tensors[reader.tensor] for reader in readers)
            tokens, source = (0, "") if known is None else (known.tokens, known.source)
            return Work(ScaleTask(transform, place, readers, read, tokens, source), statistics_arrays(known))

        chosen = [layers[name] for name in first]
        step = LayerStep(key, find_scale, work, save)
        self.runner.run(LayerPass(f"{transform} scales", chosen, (step,), "none"))
        found: dict[str, np.ndarray] = {}
        for name, place in first.items():
            stored = load_arrays_if_any(self.runner.folder(key(layers[name])) / "scale.safetensors")
            if "scale" in stored:
                found |= dict.fromkeys(place.layers, stored["scale"])
        return found

    def _layer_work(self, maps: Mapping[str, np.ndarray]) -> Callable[[LinearLayer, LayerStatistics | None], Work]:
        """Return the function that makes a layer's task; `maps` holds the class of its tiles, if chosen already."""
        quantize, classes = self.request.recipe.quantize, self.classes
        rounding = RoundingSettings(quantize.sparse_budget, quantize.compensate, quantize.refine, quantize.method,
                                    quantize.prune_to_zero, self.request.place)  # fmt: skip
        settings = LayerSettings(classes, self.tile, rounding)

        def work(layer: LinearLayer, known: LayerStatistics | None) -> Work:
            about = (0, "") if known is None else (known.tokens, known.source)
            scaled = {
                kind: found[layer.name]
                for kind, found in ((SCALE, self.scales), (ROWS, self.rows))
                if layer.name in found
            }
            task = LayerTask(layer, self.checkpoint.tensors[layer.tensor], settings, maps.get(layer.name), *about)
            return Work(task, statistics_arrays(known) | scaled, self.request.place.device)

        return work
