"""Predict the time, memory and disk space of a quantization from a model's shapes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from haloquant.api.arguments import path_text
from haloquant.api.models.quantization_checks import check_common, check_sparsity, open_source
from haloquant.errors import InputError
from haloquant.jobs.inputs import has_tensors, model_window, read_model_sizes
from haloquant.jobs.quantize.forecast import machine_rates
from haloquant.jobs.quantize.forecast.device_plan import DevicePlan, predict_on_device
from haloquant.jobs.quantize.forecast.device_rates import H100, DeviceRates
from haloquant.jobs.quantize.forecast.model_sizes import sizes_of_checkpoint
from haloquant.jobs.quantize.forecast.plan import Plan, Stage, predict, sparse_inputs_stage
from haloquant.jobs.quantize.model_check import check_in_transformers, has_transformers
from haloquant.lm.checkpoint.completeness import check_names
from haloquant.lm.checkpoint.remote import is_url
from haloquant.lm.devices import check_device_name, describe_device, device_memory_b, find_device
from haloquant.quant.input_sparsity.levels import InputAllocation, levels_around
from haloquant.recipe import Goal, Transform


@dataclass(frozen=True)
class Forecast:
    """Time, memory and disk space of a quantization on this machine, predicted from the model's shapes."""

    plan: Plan
    """Bytes to read and to write, and the stages without and with calibration."""
    layers: int
    """Number of linear layers."""
    windows: int
    """Number of calibration windows."""
    window_tokens: int
    """Tokens of one calibration window."""
    calibrated: bool
    """Whether a calibration text was assumed."""
    gpu: DevicePlan | None = None
    """The same on one GPU: the time of each stage and the peak of device memory. None for the device "cpu"."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages with or without calibration, as `calibrated` says: seconds with one worker, and memory in bytes."""
        return self.plan.calibrated if self.calibrated else self.plan.free


def forecast(
    model: str | Path,
    *,
    goal: Goal = "bal",
    calibration: str | Path = "demo",
    samples: int = 32,
    transform: Transform = "none",
    exclude: str | Sequence[str] | None = None,
    device: str = "auto",
    input_sparsity: float = 0.0,
    input_allocation: InputAllocation = "uniform",
) -> Forecast:
    """Predict memory, disk and time of `quantize` on this machine and on a GPU, from the model's shapes alone.

    A probe of about a second measures the speed of this machine. No weight is read.

    Args:
        model: As in `quantize`; or a bare `config.json`, or a named shape such as "llama2-70b".
        goal: As in `quantize`; "bal" measures every tile first and so takes longer.
        calibration: As in `quantize`; only whether it is "none" matters.
        samples: Number of calibration windows.
        transform: As in `quantize`.
        exclude: As in `quantize`; not for a bare `config.json` or a named shape.
        device: "auto" predicts for an H100 too, whether there is one or not; "cpu" does not. "cuda" or "cuda:NUMBER"
            takes the memory of that GPU of this machine, and the rates of an H100.
        input_sparsity: As in `quantize`.
        input_allocation: As in `quantize`.

    Returns:
        Every stage with its time in seconds (one worker) and memory in bytes.

    Raises:
        InputError: An argument is not allowed, `exclude` is given for a shape, or there is no such model; or it is one
            that `quantize` refuses by its configuration and the names, types and shapes of its tensors.

    Example:
        ```python
        import haloquant

        for stage in haloquant.forecast("llama2-70b").stages:
            print(f"{stage.name}: {stage.seconds / 3600:.1f} h, {stage.driver_b / 1e9:.1f} GB")
        ```
    """
    model, text = path_text("model", model), path_text("calibration", calibration)
    check_common(goal, transform, text, samples)
    check_sparsity(input_sparsity, input_allocation, text)
    tensors = is_url(model) or has_tensors(model)
    if exclude and not tensors:
        raise InputError(
            "exclude needs the names of layers: the model must be a folder, a GGUF file, a name in the hub's cache or "
            f"a URL, not {model!r:.80}"
        )
    if tensors:
        checkpoint = open_source(model, exclude)
        check_names(checkpoint)
        check_in_transformers(checkpoint, text != "none")
        sizes, window_tokens = sizes_of_checkpoint(checkpoint), model_window(checkpoint.folder)
    else:
        sizes, window_tokens = read_model_sizes(model)
    rates = machine_rates.measure_rates(refined=goal != "acc-opt")  # layers of 16 words are not refined
    calibrated, balanced = text != "none", goal == "bal"
    predicted = predict(sizes, rates, samples, window_tokens, balanced, transform, has_transformers())
    if input_sparsity:
        levels = len(levels_around(input_sparsity)) - 1  # all but the dense one
        passes = 1 if input_allocation == "uniform" else 1 + levels * len(sizes.layers)
        found = sparse_inputs_stage(sizes, rates, predicted.written_b, passes)
        predicted = replace(predicted, calibrated=(*predicted.calibrated, found))
    gpu = _gpu(device)
    on_gpu = gpu and predict_on_device(sizes, predicted, rates, gpu, samples, window_tokens, calibrated, balanced)
    return Forecast(predicted, len(sizes.layers), samples, window_tokens, calibrated, on_gpu)


def _gpu(device: str) -> DeviceRates | None:
    """Return the GPU that a forecast is for, None for the CPU.

    Raises:
        InputError: There is no such device.
    """
    check_device_name(device)
    if device == "auto":
        return H100
    found = find_device(device)
    memory_b = device_memory_b(found)
    if memory_b is None:
        return None
    return replace(H100, name=f"{describe_device(found)}, at the rates of an H100", memory_b=memory_b)
