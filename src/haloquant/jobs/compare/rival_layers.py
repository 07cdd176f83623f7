"""The quantized layers of a rival: in the job's pass over all layers, or one after the other in the model's order."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.rival_tasks import (
    INPUT_SCALE,
    ROW_HESSIAN,
    TOKEN_FISHER,
    RivalTask,
    quantize_rival_layer,
    rival_layer,
    save_rival_layer,
)
from haloquant.jobs.compare.rivals import smoothing_scales
from haloquant.jobs.engine.tasks import Work
from haloquant.jobs.quantize.layer_tasks import statistics_arrays
from haloquant.jobs.quantize.task_runner import LayerStep, StepKey
from haloquant.lm.checkpoint.reader import LinearLayer
from haloquant.quant.float16 import size_exponent
from haloquant.quant.rivals.registry import rival
from haloquant.quant.transforms.error_propagation import DAMPINGS, PairedInputs
from haloquant.records import LayerResult, LayerStatistics
from haloquant.store.arrays import load_arrays_if_any, save_arrays_if_any

SMOOTHED = "smoothquant: inputs of {} of {} layers are divided by scales that the norms before them take"


class RivalLayers:
    """The layers of one rival in one job.

    `step` quantizes a layer in the job's pass; it is None if the layers are rounded in order, which `prepare` does.
    """

    def __init__(self, job: JobSteps, name: str) -> None:
        self.chosen = rival(name)
        self.step = (
            None if self.chosen.in_order else LayerStep(self._key, quantize_rival_layer, self._work, save_rival_layer)
        )
        self._job = job

    @cached_property
    def inputs(self) -> list[object]:
        """Return everything that the layers depend on."""
        job, chosen = self._job, self.chosen
        inputs = [job.calibration_key(), job.recipe.seed, job.recipe.hardware.tile, repr(chosen.config)]
        if chosen.in_order:
            return [
                *inputs,
                repr(DAMPINGS),
                job.recipe.quantize.activations,
                job.recipe.quantize.activation_bits,
                job.profile_key(),
            ]
        quantize = job.recipe.quantize
        inputs += [chosen.by_head, chosen.by_token, quantize.value_hessian, quantize.calibration_dtype]
        return [*inputs, job.profile_key()]

    def prepare(self) -> None:
        """Make what the layers need before the job's pass: SmoothQuant's scales, or the layers in order."""
        if self.chosen.in_order:
            self._in_order()
        self.scales()

    def folder(self, layer: LinearLayer) -> Path:
        """Return the folder of a finished layer."""
        if self.chosen.in_order:
            return self._in_order() / layer.name
        return self._job.passes.runner.folder(self._key(layer))

    def forget(self) -> None:
        """Delete the layers: they are float32 weights."""
        if self.chosen.in_order:
            self._job.steps.forget(f"{self.chosen.name}-layers", self.inputs)
            return
        for layer in self._job.inputs.checkpoint.layers:
            self._job.passes.runner.forget(self._key(layer))

    def scales(self) -> Mapping[str, np.ndarray]:
        """Return the scales of the layers' inputs [in] by layer; none for all rivals but SmoothQuant."""
        return {} if self.chosen.smoothing is None else self._smoothing

    def notes(self) -> tuple[str, ...]:
        """Return what the report says of the rival as a whole."""
        if self.chosen.smoothing is None:
            return ()
        return (SMOOTHED.format(len(self.scales()), len(self._job.inputs.checkpoint.layers)),)

    @cached_property
    def _smoothing(self) -> Mapping[str, np.ndarray]:
        job, alpha = self._job, self.chosen.smoothing or 0.0

        def make(folder: Path) -> None:
            found = smoothing_scales(job.inputs.checkpoint, job.input_maxima, alpha)
            save_arrays_if_any(folder / "scales.safetensors", found)

        inputs = [job.calibration_key(), alpha]
        return load_arrays_if_any(job.step(f"smoothing-{alpha:g}", inputs, make) / "scales.safetensors")

    def _key(self, layer: LinearLayer) -> StepKey:
        return f"{self.chosen.name}-{layer.name}", self.inputs

    def _work(self, layer: LinearLayer, known: LayerStatistics | None) -> Work:
        job, chosen = self._job, self.chosen
        arrays, (tokens, source) = statistics_arrays(known), (0, "") if known is None else (known.tokens, known.source)
        token_source = ""
        if chosen.by_token:
            by_token = job.token_fisher(layer.name)
            token_source = by_token.source
            if by_token.fisher is not None:
                arrays[TOKEN_FISHER] = by_token.fisher
        if chosen.by_head and layer.name in job.row_hessians:
            arrays[ROW_HESSIAN] = job.row_hessians[layer.name]
        if chosen.smoothing is not None:
            ones = np.ones(layer.in_features, np.float32)
            arrays[INPUT_SCALE] = self.scales().get(layer.name, ones)
        tensor, tile = job.inputs.checkpoint.tensors[layer.tensor], job.recipe.hardware.tile
        task = RivalTask(layer, tensor, chosen.name, tile, job.profile, job.corner, tokens, source, token_source)
        return Work(task, arrays)

    def _in_order(self) -> Path:
        """Return the folder of the step with all layers, each in a folder of its name."""
        from haloquant.lm.calibration.paired_inputs import round_against_full_precision  # needs torch

        job, chosen = self._job, self.chosen
        windows, tile = job.request.calibration, job.recipe.hardware.tile
        if windows is None:
            raise ValueError(f"{chosen.name} must have calibration windows")

        def make(folder: Path) -> None:
            last: list[LayerResult] = []

            def rounder(layer: LinearLayer, weight: np.ndarray, inputs: PairedInputs) -> np.ndarray:
                factor = np.float32(2.0 ** size_exponent(weight))  # as in `quantize_rival_layer`
                made = chosen.quantize(weight * factor, inputs, layer=layer.name)
                last[:] = [replace(made, weight=made.weight / factor)]
                return last[0].weight

            bits = None if job.recipe.quantize.activations == "none" else job.recipe.quantize.activation_bits
            tell = partial(job.progress, f"quantize {chosen.name}")
            for layer, _ in round_against_full_precision(job.inputs.checkpoint, windows, rounder, bits, tell):
                (folder / layer.name).mkdir()
                save_rival_layer(
                    folder / layer.name, layer, *rival_layer(last[0], layer, tile, job.profile, job.corner)
                )

        return job.step(f"{chosen.name}-layers", self.inputs, make)
