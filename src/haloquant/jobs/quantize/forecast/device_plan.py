"""Predict the device memory and the time of a quantization on GPUs, from the model's sizes and the GPUs' rates.

Peak device memory is that of one decoder block with its sums (calibration), or of the working set of one layer
(rounding): the sums leave the device before layers are rounded. Time on a GPU is work divided by `DeviceRates`; the
stages of the CPU and packing take what `plan` predicts for this machine. Of several GPUs the first calibrates, and all
round: each layer is rounded on one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.errors import InfeasibleError
from haloquant.jobs.quantize.forecast.device_rates import DeviceRates
from haloquant.jobs.quantize.forecast.machine_rates import Rates
from haloquant.jobs.quantize.forecast.model_sizes import LayerSize, ModelSizes
from haloquant.jobs.quantize.forecast.plan import Plan, blocks_of, calibration_madds, keeping_s, sums_b, values_madds
from haloquant.jobs.quantize.transform import AWQ_POINTS
from haloquant.kernels.rounding.memory import CONTEXT_B, USABLE, layer_bytes, rows_that_fit
from haloquant.quant.rounding.refinement import DEFAULT_SHARE, ROUNDS
from haloquant.records import CalibrationDtype
from haloquant.units import engineering

# Bytes that the CPU reads and writes for each weight of a layer: conversion to float32 (6), and places and values of
# the sparse weights (10).
HOST_B = 16.0
CLASSES = 2  # in which the tiles are measured


@dataclass(frozen=True)
class DeviceStage:
    """One stage: seconds, and peak bytes of device memory (0 where it runs on the CPU)."""

    name: str
    seconds: float
    device_b: float


@dataclass(frozen=True)
class DevicePlan:
    """The prediction for one or several GPUs.

    `device` names them, `cards` is their number, and `memory_b` the memory of the smallest. `bands` is the number of
    parts in which the rows of the largest layer are rounded there; `obstacle` says why the model does not fit on a GPU,
    and is empty if it does. The memory of a stage is that of one GPU.
    """

    device: str
    memory_b: float
    stages: tuple[DeviceStage, ...]
    bands: int
    obstacle: str = ""
    cards: int = 1

    @property
    def peak_b(self) -> float:
        """The most device memory of any stage, in bytes."""
        return max(stage.device_b for stage in self.stages)

    @property
    def seconds(self) -> float:
        """The time of all stages."""
        return sum(stage.seconds for stage in self.stages)


def predict_on_devices(
    model: ModelSizes, plan: Plan, host: Rates, devices: Sequence[DeviceRates], windows: int, length: int,
    calibrated: bool, balanced: bool = True, dtype: CalibrationDtype = "float32",
) -> DevicePlan:  # fmt: skip
    """Return the prediction for one or several GPUs.

    Args:
        model: sizes of the model.
        plan: the prediction for this machine's CPU, whose stages without a GPU are kept.
        host: speed of this machine's CPU, which packs the layers.
        devices: speed and memory of each GPU; the first calibrates.
        windows: number of calibration windows.
        length: tokens of each window.
        calibrated: whether there is a calibration.
        balanced: whether the losses of tiles are measured first (goal `bal`).
        dtype: type of the matrix products of calibration.
    """
    obstacle, bands = "", 1
    smallest, cards = min(devices, key=lambda device: device.memory_b), len(devices)
    try:
        for device in devices:
            check_rounding_room(model, device.memory_b, device.name, calibrated)
        if calibrated:
            check_calibration_room(model, devices[0].memory_b, devices[0].name, length)
        bands = max(_bands(x, smallest.memory_b, calibrated) for x in model.layers)
    except InfeasibleError as error:
        obstacle = str(error)
    kept = {stage.name: stage.seconds for stage in (plan.calibrated if calibrated else plan.free)}
    block_b = calibration_b(model, length) if calibrated else 0.0
    layer_b = min(max(rounding_b(x, calibrated) for x in model.layers), USABLE * smallest.memory_b)
    first = devices[0]
    rate = first.calibration if dtype == "float32" else first.bfloat16_calibration
    passing = 2 * calibration_madds(model.layers, windows * length) / rate.value
    passing += 2 * values_madds(model, windows, length) / first.calibration.value  # float32 in both
    once = [_layer_s(x, smallest, calibrated, 1) + x.weights / host.packed_weights_per_s for x in model.layers]
    measured = [_layer_s(x, smallest, calibrated, CLASSES) for x in model.layers]
    found = {"calibrate": (passing + keeping_s(plan.statistics_b, host), block_b)}
    found |= {"measure tiles": (_shared_s(measured, cards), layer_b), "quantize": (_shared_s(once, cards), layer_b)}
    scales = passing / 3  # the forward pass alone, for a transform
    if "awq scales" in kept:  # the CPU then compares the candidate scales
        scales += AWQ_POINTS * sum(x.weights * x.in_features for x in model.layers) / host.madds_per_s / cards
    found |= {name: (scales, block_b) for name in kept if name.endswith(" scales")}
    stages = [DeviceStage(name, *found.get(name, (seconds, 0.0))) for name, seconds in kept.items()]
    names = " and ".join(dict.fromkeys(device.name for device in devices))
    return DevicePlan(names, smallest.memory_b, tuple(stages), bands, obstacle, cards)


def _shared_s(layers: Sequence[float], cards: int) -> float:
    """Return the seconds in which GPUs round layers that take these seconds; a layer is not divided among GPUs."""
    return max(sum(layers) / cards, max(layers))


def check_rounding_room(model: ModelSizes, memory_b: float, device: str, calibrated: bool) -> None:
    """Check that a GPU holds a row of each layer while it is rounded.

    Args:
        model: sizes of the model.
        memory_b: memory of the GPU in bytes.
        device: its name in the error.
        calibrated: whether the layers have Hessians.

    Raises:
        InfeasibleError: It does not; the sentence says what is needed and what would fit.
    """
    for layer in sorted(model.layers, key=lambda x: -x.in_features)[:1]:
        rows_that_fit(layer.out_features, layer.in_features, memory_b, f"a layer of {model.name}", calibrated, device)


def check_calibration_room(model: ModelSizes, memory_b: float, device: str, length: int) -> None:
    """Check that a GPU holds a decoder block while it is calibrated.

    Args:
        model: sizes of the model.
        memory_b: memory of the GPU in bytes.
        device: its name in the error.
        length: tokens of a calibration window.

    Raises:
        InfeasibleError: It does not; the sentence says what is needed and what would fit.
    """
    if (needed := calibration_b(model, length)) <= USABLE * memory_b:
        return
    raise InfeasibleError(
        f"calibrating {model.name} must have {engineering(needed / USABLE, 'B')} of device memory for one decoder "
        f"block, its sums and a window of {length} tokens, and {device} has {engineering(memory_b, 'B')}; calibrate on "
        "the CPU (--device cpu), or quantize without calibration (--calibration none), which fits there"
    )


def calibration_b(model: ModelSizes, length: int) -> float:
    """Return the peak device memory in bytes of calibrating a decoder block.

    It holds the block's weights and sums in float32, and for one window the inputs and outputs of the layers, the
    attention probabilities of all heads, and the gradient of the largest weight. A 7B-shaped block was measured at
    3.76 GB (`bench/gpu/results/h200_calibration.json`), without the CUDA context.
    """
    peak = 0.0
    for block in blocks_of(model.layers):
        held = 4.0 * sum(x.weights for x in block) + sums_b(block) + 4.0 * model.hidden**2
        window = 4.0 * length * sum(x.in_features + x.out_features for x in block)
        window += 4.0 * model.heads * float(length) ** 2 + 4.0 * max(x.weights for x in block)
        peak = max(peak, held + window)
    return peak + CONTEXT_B


def rounding_b(layer: LayerSize, calibrated: bool) -> float:
    """Return the device memory in bytes of rounding a layer whose rows fit together."""
    return layer_bytes(layer.out_features, layer.in_features, calibrated)


def _bands(layer: LayerSize, memory_b: float, calibrated: bool) -> int:
    rows = rows_that_fit(layer.out_features, layer.in_features, memory_b, "a layer", calibrated)
    return -(-layer.out_features // rows)


def _layer_s(layer: LayerSize, device: DeviceRates, calibrated: bool, classes: int) -> float:
    """Return the seconds of rounding a layer in this many classes, copies included, and of its losses if several."""
    weights, width = float(layer.weights), float(layer.in_features)
    search = weights / device.search.value
    copies = (
        4 * weights / device.to_device.value + weights / device.to_host.value + HOST_B * weights / device.host.value
    )
    if not calibrated:
        return copies + classes * search
    copies += (4 * weights + 4 * width**2) / device.to_device.value  # Fisher and Hessian
    factor = width**3 / 3 / device.factor.value
    waves = -(-layer.out_features // device.together)
    compensated = weights * width / device.product.value + width * device.column.value * waves
    product = 2 * weights * width / device.product.value
    refined = DEFAULT_SHARE * (product + ROUNDS * width * device.refined_column.value * waves)
    losses = product if classes > 1 else 0.0
    return copies + factor + classes * (search + compensated + losses) + refined  # one class of two is refined
