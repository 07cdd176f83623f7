"""Predict the time, memory and disk space of a quantization from a model's shapes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from haloquant.api.arguments import path_text
from haloquant.api.models.quantization_checks import check_calibration_dtype, check_common, check_sparsity, open_source
from haloquant.errors import InputError
from haloquant.jobs.inputs import has_tensors, model_window, read_model_sizes
from haloquant.jobs.quantize.forecast import machine_rates
from haloquant.jobs.quantize.forecast.device_plan import DevicePlan, predict_on_devices
from haloquant.jobs.quantize.forecast.device_rates import H100, DeviceRates
from haloquant.jobs.quantize.forecast.model_sizes import sizes_of_checkpoint
from haloquant.jobs.quantize.forecast.plan import Plan, Stage, predict, sparse_inputs_stage
from haloquant.jobs.quantize.model_check import check_in_transformers, has_transformers
from haloquant.kernels.rounding.memory import device_memory_b
from haloquant.lm.checkpoint.completeness import check_names
from haloquant.lm.checkpoint.remote import is_url
from haloquant.lm.devices import (
    check_alike,
    check_device_names,
    describe_device,
    find_devices,
    gpu_count,
    named_devices,
)
from haloquant.quant.input_sparsity.levels import InputAllocation, levels_around
from haloquant.recipe import Goal, Transform
from haloquant.records import CalibrationDtype


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
    """The same on GPUs: the time of each stage and the peak memory of one GPU. None for the device "cpu"."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages with or without calibration, as `calibrated` says: seconds with one worker, and memory in bytes."""
        return self.plan.calibrated if self.calibrated else self.plan.free

    def expected(self, calibrated_on: str, rounded_on: Sequence[str]) -> tuple["ExpectedStage", ...]:
        """Return what is expected of every stage of a run.

        Args:
            calibrated_on: Where it calibrated, as `Quantized.calibrated_on` says.
            rounded_on: Where it rounded, as `Quantized.rounded_on` says.
        """
        places = {name: "cpu" if tuple(rounded_on) == ("cpu",) else "cuda" for name in ("measure tiles", "quantize")}
        on_gpu = {stage.name: stage for stage in self.gpu.stages} if self.gpu else {}
        found: list[ExpectedStage] = []
        for stage in self.stages:
            gpu = on_gpu.get(stage.name)
            if gpu is None or not gpu.device_b or places.get(stage.name, calibrated_on) == "cpu":
                found.append(ExpectedStage(stage.name, stage.seconds, stage.driver_b, stage.worker_b))
            else:
                found.append(ExpectedStage(stage.name, gpu.seconds, device_b=gpu.device_b))
        return tuple(found)


@dataclass(frozen=True)
class ExpectedStage:
    """What is expected of one stage on the device where it ran: seconds, and peak bytes.

    `driver_b` is the memory of the process, None for a stage on a GPU, whose process is not predicted; `worker_b` is
    that of each worker process. `device_b` is the memory of one GPU, None for a stage on the CPU.
    """

    name: str
    seconds: float
    driver_b: float | None = None
    worker_b: float = 0.0
    device_b: float | None = None


def forecast(
    model: str | Path,
    *,
    goal: Goal = "bal",
    calibration: str | Path = "demo",
    samples: int = 32,
    calibration_dtype: CalibrationDtype = "float32",
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
        calibration_dtype: As in `quantize`. "bfloat16" needs torch, to measure this machine.
        transform: As in `quantize`.
        exclude: As in `quantize`; not for a bare `config.json` or a named shape.
        device: "auto" predicts for an H100 too, whether there is one or not; "cpu" does not. "cuda", "cuda:NUMBER",
            "cuda:all" and "cuda:0,cuda:1" take the number and the memory of these GPUs of this machine, and the rates
            of an H100. On a machine without a GPU they stand for as many H100s, and "cuda:all" for one.
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
    check_calibration_dtype(calibration_dtype, text)
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
    rates = machine_rates.measure_rates(goal != "acc-opt", calibration_dtype)  # layers of 16 words are not refined
    calibrated, balanced = text != "none", goal == "bal"
    predicted = predict(sizes, rates, samples, window_tokens, balanced, transform, has_transformers())
    if input_sparsity:
        levels = len(levels_around(input_sparsity)) - 1  # all but the dense one
        passes = 1 if input_allocation == "uniform" else 1 + levels * len(sizes.layers)
        found = sparse_inputs_stage(sizes, rates, predicted.written_b, passes)
        predicted = replace(predicted, calibrated=(*predicted.calibrated, found))
    gpus = _gpus(device)
    on_gpu = (
        predict_on_devices(
            sizes, predicted, rates, gpus, samples, window_tokens, calibrated, balanced, calibration_dtype
        )
        if gpus
        else None
    )
    return Forecast(predicted, len(sizes.layers), samples, window_tokens, calibrated, on_gpu)


def _gpus(device: str) -> tuple[DeviceRates, ...]:
    """Return the GPUs that a forecast is for, none for the CPU.

    Raises:
        InputError: The name has another form, or this machine has GPUs and not this one, or these are of different
            kinds.
    """
    check_device_names(device)
    if device == "cpu":
        return ()
    if device == "auto" or not find_spec("torch") or not gpu_count():
        return (H100,) * len(named_devices(device))
    found: list[DeviceRates] = []
    check_alike(devices := find_devices(device))
    for name in devices:
        memory_b = device_memory_b(name)
        if memory_b is not None:
            found.append(replace(H100, name=f"{describe_device(name)}, at the rates of an H100", memory_b=memory_b))
    return tuple(found)
