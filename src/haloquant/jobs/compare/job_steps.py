"""The inputs of one job and the steps that its methods share: calibration, transform, codebooks, losses of tiles.

The layers are quantized by the same passes as in `jobs.quantize`, so the packed model of a goal is the same. A step is
made when it is first needed. A rerun finds it by the hash of everything that it depends on.
"""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from haloquant.dvfs.classes import Classes
from haloquant.jobs.compare.accuracy import STANDARD, Protocol
from haloquant.jobs.compare.rivals import row_hessians
from haloquant.jobs.engine.metering import Meter
from haloquant.jobs.engine.session import InProcess
from haloquant.jobs.engine.tasks import Session
from haloquant.jobs.engine.worker_device import own_device
from haloquant.jobs.inputs import Inputs, Progress, calibration_windows, missing_windows, silent
from haloquant.jobs.provenance import step_versions
from haloquant.jobs.quantize.allocation import Allocator
from haloquant.jobs.quantize.checkpoint_passes import Maps, Passes
from haloquant.jobs.quantize.forecast.device_room import check_device_room
from haloquant.jobs.quantize.layer_rounding import rounding_place
from haloquant.jobs.quantize.request import Request, passes_key
from haloquant.jobs.quantize.task_runner import TaskRunner
from haloquant.jobs.quantize.transform import restore_layer
from haloquant.lm.calibration.in_memory import collect
from haloquant.lm.calibration.statistics_file import VERSION, load_statistics, save_statistics
from haloquant.lm.checkpoint.reader import LinearLayer
from haloquant.lm.devices import card_of, find_device
from haloquant.lm.evaluation.divergence import Predictions, predictions
from haloquant.lm.torch_model import load_model
from haloquant.quant.format.packing import unpack
from haloquant.quant.layer import dequantize
from haloquant.recipe import Recipe
from haloquant.records import LayerStatistics, MacProfile, QuantizedWeight
from haloquant.store.arrays import load_arrays, load_arrays_if_any, save_arrays, save_arrays_if_any
from haloquant.store.atomic_files import sha256_bytes
from haloquant.store.finished_steps import Steps
from haloquant.store.profiles import profile_sha256


class JobSteps:
    """The inputs of one job and its shared steps.

    `reused` names the steps that were finished before this run. `folders` holds the folder of every step by its name.
    `fresh` names the steps whose files workers of this run made. `session` runs the tasks on layers. `device` is where
    the model is calibrated and evaluated. `short` says that the calibration text has fewer windows than asked for.
    `protocol` says how methods are evaluated.
    """

    def __init__(
        self,
        recipe: Recipe,
        inputs: Inputs,
        profile: MacProfile,
        out: Path,
        progress: Progress,
        session: Session | None = None,
        protocol: Protocol = STANDARD,
    ) -> None:
        self.recipe, self.inputs, self.profile, self.progress = recipe, inputs, profile, progress
        self._lender: JobSteps | None = None  # whose loaded model and predictions it uses
        self.steps = Steps(out / "steps", step_versions())
        self.reused: list[str] = []
        self.folders: dict[str, Path] = {}
        self.fresh: set[str] = set()
        self.corner = 0
        self.protocol = protocol
        windows, source = calibration_windows(inputs.checkpoint.folder, inputs.calibration, self._samples())
        self.short = missing_windows(inputs.calibration, windows, self._samples())
        self.device = own_device(find_device(recipe.device))
        place = rounding_place(recipe.quantize.method, self.device)
        self.request = Request(profile, None, recipe, windows, source, self.device, place, card_of(self.device))
        check_device_room(inputs.checkpoint, (place.device,), self.device, windows.shape[1])
        self.key = passes_key(inputs.model_sha256, inputs.checkpoint, self.request)
        self.session = session or InProcess()
        runner = TaskRunner(inputs.checkpoint, self.request, self.steps, self.key, self.session, progress, Meter())
        self.passes = Passes(inputs.checkpoint, self.request, runner)

    def beside(self, recipe: Recipe, profile: MacProfile) -> "JobSteps":
        """Return a job of another recipe and MAC on the same model, texts, folder and workers.

        It computes with the model that this job loads, and with what that predicts, and tells no progress. The recipe
        must name the same device and evaluation text.
        """
        made = JobSteps(recipe, self.inputs, profile, self.steps.root.parent, silent, self.session, self.protocol)
        made._lender = self
        made.passes.runner.tokens = self.passes.runner.tokens  # of experts; one pass quantizes the layers of all jobs
        return made

    def _samples(self) -> int:
        """Return the number of calibration windows that the recipe asks for."""
        tokens = self.recipe.text.calibration_tokens or len(self.inputs.calibration.tokens)
        return max(1, tokens // self.inputs.window)

    @cached_property
    def model(self) -> Any:
        """The full-precision model."""
        if self._lender is not None:
            return self._lender.model
        return load_model(self.inputs.checkpoint.folder).to(self.device)

    @cached_property
    def predictions(self) -> Predictions:
        """What the full-precision model predicts in the windows of the evaluation text."""
        if self._lender is not None:
            return self._lender.predictions
        window, limit = self.protocol.window or self.inputs.window, self.recipe.text.evaluation_tokens
        most = max(1, limit // window) if limit else None
        return predictions(self.model, self.inputs.evaluation.tokens, window, most)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """The shape (out, in) of every linear layer."""
        return {layer.name: (layer.out_features, layer.in_features) for layer in self.inputs.checkpoint.layers}

    @cached_property
    def classes(self) -> Classes:
        """The codebooks that are chosen for this MAC and this model."""
        return self.passes.classes

    @cached_property
    def sensitivity(self) -> dict[str, np.ndarray]:
        """The sensitivity of every tile [tiles down, tiles across] of every layer."""
        stored = load_arrays(self._tile_losses / "sensitivity.safetensors")
        return {name: stored[name] for name in self.shapes}

    @cached_property
    def allocator(self) -> Allocator:
        """The predicted loss of every tile in every class, and the path of allocations."""
        stored = load_arrays(self._tile_losses / "losses.safetensors")
        return self.passes.allocate(stored["loss"], float(stored["sparse_bits"][0]), lambda: self.sensitivity)

    @cached_property
    def input_maxima(self) -> dict[str, LayerStatistics]:
        """Statistics that hold the largest inputs of every layer, for activations with one scale per layer."""
        stored = load_arrays_if_any(self._tile_losses / "input_maxima.safetensors")
        return {name: LayerStatistics(name, 0, input_absmax=stored.get(name)) for name in self.shapes}

    @cached_property
    def _tile_losses(self) -> Path:
        """The folder of the step that holds losses and sensitivities of all tiles, and the largest inputs."""

        def make(folder: Path) -> None:
            stored = {"loss": self.passes.allocator.loss, "sparse_bits": np.array([self.passes.sparse_bits])}
            save_arrays(folder / "losses.safetensors", stored)
            save_arrays(folder / "sensitivity.safetensors", self.passes.sensitivity)
            save_arrays_if_any(folder / "input_maxima.safetensors", self.passes.input_maxima)

        return self.step("tile-losses", self.key, make)

    @cached_property
    def token_statistics(self) -> Path:
        """The file of statistics with the Fisher information of single tokens, for rivals that use it."""

        def make(folder: Path) -> None:
            tell = partial(self.progress, "calibrate by token")
            windows, layers = self._windows, tuple(self.shapes)
            found = collect(
                self.model, windows.reshape(-1), layers, windows.shape[1], len(windows), None, "token", False, tell
            )
            save_statistics(folder / "statistics.safetensors", found)

        key = [VERSION, self.calibration_key()]
        return self.step("calibrate-by-token", key, make) / "statistics.safetensors"

    def token_fisher(self, layer: str) -> LayerStatistics:
        """Return the statistics of one layer from `token_statistics`."""
        return load_statistics(self.token_statistics, (layer,))[layer]

    @cached_property
    def row_hessians(self) -> dict[str, np.ndarray]:
        """How attention weighs errors in the rows of queries, keys and values (`rivals.row_hessians`)."""

        def make(folder: Path) -> None:
            tell = partial(self.progress, "row Hessians")
            found = row_hessians(self.model, self.inputs.checkpoint, self._windows, tell)
            save_arrays_if_any(folder / "rows.safetensors", found)

        return load_arrays_if_any(self.step("row-hessians", self.calibration_key(), make) / "rows.safetensors")

    @property
    def _windows(self) -> np.ndarray:
        if self.request.calibration is None:
            raise ValueError("a job must have calibration windows")
        return self.request.calibration

    def restored(self, maps: Maps, layer: LinearLayer) -> np.ndarray:
        """Return a layer's rounded weight [out, in] for the layer's original input and output."""
        weight = dequantize(self.quantized(maps, layer))
        return restore_layer(weight, self.passes.scales.get(layer.name), self.passes.rows.get(layer.name))

    def quantized(self, maps: Maps, layer: LinearLayer) -> QuantizedWeight:
        """Return a layer of a HALO method whose layers are finished."""
        packed = self.passes.layer(maps, layer)
        grid = packed.tiles.grid
        return unpack(packed.tensors, packed.layer, packed.codebooks, grid.tile_out, grid.tile_in)

    def calibration_key(self) -> list[object]:
        """Return the inputs of statistics; the sums of two kinds of devices differ in their last bits."""
        windows, place = self._windows, self.request.kind(self.device)
        return [self.inputs.model_sha256, list(self.shapes), windows.shape, sha256_bytes(windows.tobytes()), place]

    def evaluation_key(self) -> list[object]:
        """Return the inputs of the accuracy of every method."""
        return [
            self.inputs.model_sha256,
            list(self.shapes),
            sha256_bytes(self.inputs.evaluation.tokens.tobytes()),
            self.recipe.text.evaluation_tokens,
            self.recipe.quantize.activations,
            self.recipe.quantize.activation_bits,
            self.recipe.hardware.tile,
            self.request.kind(self.device),
            *([] if self.protocol == STANDARD else [repr(self.protocol)]),
            *self._mixed_key(),
        ]

    def _mixed_key(self) -> list[object]:
        """Return the inputs of the thresholds of mixed activations; nothing where activations are not mixed."""
        quantize = self.recipe.quantize
        if quantize.activations != "mixed":
            return []
        return [quantize.low_share, quantize.low_bits, self.calibration_key()]

    def profile_key(self) -> str:
        """Return the hash of everything that the profile says of the MAC."""
        return profile_sha256(self.profile)

    def step(self, name: str, inputs: object, make: Callable[[Path], None]) -> Path:
        """Return the folder of a step; `make` fills it now unless the step is finished already."""
        folder, reused = self.steps.run(name, inputs, make)
        self.folders[name] = folder
        if reused and name not in self.fresh:
            self.reused.append(name)
        return folder
