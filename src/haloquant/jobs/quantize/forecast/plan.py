"""What a quantization would take: memory and time of every stage, from shapes alone. No weight is read.

Memory follows from what is held at once, counted below. Time follows from work counted in weights and multiply-adds,
at rates that a short probe measures on this machine with one thread; so it is that of one worker, and tasks divide it
by the workers. What the probe cannot see (`FRESH`, `COLD`, `HEAP`, `LAYER_B`) is from one run of a 7B. What is counted
per layer is the same for each block, so everything but the largest layer's memory grows linearly with the number of
blocks, and so with the weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.workload.model_shapes import ModelShape
from haloquant.jobs.quantize.forecast.rates import Rates
from haloquant.jobs.quantize.transform import AWQ_POINTS
from haloquant.lm.calibration.shard_size import SHARD_WINDOWS
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.lm.export.model_folder import SHARD_BYTES
from haloquant.recipe import Transform

# Interpreter, numpy, scipy and numba; torch and transformers on top. Resident sizes seen after their imports.
BASE_B, TORCH_B = 170e6, 450e6
BITS = 4.25  # stored bits a weight, as packed models of the demo have with their scales and sparse part
LAYER_B = 13.0  # of a weight of the layer at hand: it, its dense part, error and scratch in float32, codes and classes
FRESH = 1.24  # layers of a model, whose memory is new, over one layer rounded again and again as the probe does it
COLD = 1.7  # a file from the disk over one that memory still holds, in time of the processor
HEAP = 1.25  # of a shard's tensors: what is freed between them stays with the process
BOOKS_S, SAMPLED, SAMPLE_SHARE = 0.5, 12, 1 / 12  # the search; layers it sees; their reading, of a weight's rounding


@dataclass(frozen=True)
class Shape:
    """A linear layer by its sizes; layers of one `group` read the same input."""

    block: int
    group: int
    out_features: int
    in_features: int

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.out_features * self.in_features


@dataclass(frozen=True)
class Model:
    """What a plan needs to know of a model."""

    name: str
    layers: tuple[Shape, ...]
    hidden: int
    stored_b: float  # as it lies on the disk
    kept_b: float  # of it, what is copied as it is


@dataclass(frozen=True)
class Stage:
    """One stage: its time with one worker, and what is in memory at its peak."""

    name: str
    seconds: float
    driver_b: float
    worker_b: float  # beside the driver's, for each worker where there are several


@dataclass(frozen=True)
class Plan:
    """What it would take."""

    model: str
    weights: int
    read_b: float
    written_b: float
    free: tuple[Stage, ...]
    calibrated: tuple[Stage, ...]

    def peak_b(self, calibrated: bool) -> float:
        """Most memory of one process that does everything."""
        return max(stage.driver_b for stage in (self.calibrated if calibrated else self.free))

    def seconds(self, calibrated: bool) -> float:
        """Time of all stages with one worker."""
        return sum(stage.seconds for stage in (self.calibrated if calibrated else self.free))


def of_checkpoint(checkpoint: Checkpoint) -> Model:
    """The sizes of an opened checkpoint."""
    layers = tuple(Shape(x.block or 0, x.group, x.out_features, x.in_features) for x in checkpoint.layers)
    stored = sum(float(t.size_bytes) for t in checkpoint.tensors.values())
    replaced = sum(float(checkpoint.tensors[t].size_bytes) for t in {layer.tensor for layer in checkpoint.layers})
    name = checkpoint.folder.name
    return Model(name, layers, checkpoint.architecture.hidden_size, stored, stored - replaced)


def of_shape(shape: ModelShape) -> Model:
    """The sizes of a model that nobody has here, stored in 16 bits."""
    q, kv = shape.heads * shape.head_features, shape.kv_heads * shape.head_features
    wide, hidden = shape.intermediate, shape.hidden
    block = [(0, q, hidden), (0, kv, hidden), (0, kv, hidden), (1, hidden, q)]
    block += [(2, wide, hidden)] * (2 if shape.family == "llama" else 1) + [(3, hidden, wide)]
    layers = tuple(Shape(b, 4 * b + group, rows, cols) for b in range(shape.layers) for group, rows, cols in block)
    kept = 2.0 * 2 * shape.vocabulary * hidden  # embedding and head
    return Model(shape.name, layers, hidden, kept + 2.0 * sum(x.weights for x in layers), kept)


def predict(
    model: Model, rates: Rates, windows: int, length: int, balanced: bool = True, transform: Transform = "none"
) -> Plan:
    """Every stage of a quantization, data-free and calibrated.

    Args:
        model: its sizes.
        rates: of the machine.
        windows: calibration windows.
        length: tokens of each.
        balanced: whether tiles are measured first, which takes every layer through both classes and calibrates twice.
        transform: whose scales are found first, which passes over the inputs once more, without gradients.
    """
    weights = sum(x.weights for x in model.layers)
    largest = max(x.weights for x in model.layers)
    widest = max(x.in_features for x in model.layers)
    written = model.kept_b + weights * BITS / 8
    read = Stage("read and hash", COLD * model.stored_b / rates.hash_b_per_s, BASE_B, 0.0)
    seen = weights / len(model.layers) * min(len(model.layers), SAMPLED)
    books_s = BOOKS_S + seen * SAMPLE_SHARE / rates.free_weights_per_s
    books = Stage("choose codebooks", books_s, BASE_B + 4.0 * largest, 0.0)
    # Every finished layer is a file of its own before it is part of a shard.
    keep_s = weights * BITS / 8 * (1 / rates.write_b_per_s + 1 / rates.hash_b_per_s)
    # A shard waits while the next tensor is read; the largest are the embedding and the head, about half of what is
    # kept each, and in the widest models larger than a shard.
    shard_b = max(HEAP * min(written, float(SHARD_BYTES)), model.kept_b / 2)
    pack = (
        Stage("pack", weights / rates.packed_weights_per_s + written / rates.write_b_per_s, BASE_B + shard_b, 0.0),
        Stage(
            "copy and check", (model.kept_b + written) / rates.hash_b_per_s, BASE_B + shard_b + model.kept_b / 2, 0.0
        ),
    )
    layer_b = LAYER_B * largest
    once = FRESH * weights / rates.free_weights_per_s
    free = [Stage("quantize", once + keep_s, BASE_B + layer_b, BASE_B + layer_b)]
    if balanced:
        free.insert(0, Stage("measure tiles", 2 * once, BASE_B + layer_b, BASE_B + layer_b))
    sums = max(_sums_b(block) for block in _blocks(model.layers))
    block_b = 4.0 * max(sum(x.weights for x in block) for block in _blocks(model.layers))
    states = 4.0 * windows * length * model.hidden
    shard = 8.0 * min(SHARD_WINDOWS, windows) * length * model.hidden
    passing = Stage(
        "calibrate",
        _calibration_madds(model.layers, windows * length) / rates.madds_per_s,
        BASE_B + TORCH_B + states + 2 * sums + block_b + shard,  # the sum so far, and that of a shard
        BASE_B + TORCH_B + sums + block_b + shard,
    )
    known_b = layer_b + 4.0 * largest + 12.0 * widest**2  # Fisher; Hessian, its factor, scratch
    rounding = sum(_rounding_s(x, rates) for x in model.layers)
    worker_b = BASE_B + known_b
    driver_b = BASE_B + TORCH_B + states + sums + known_b
    calibrated = [passing, Stage("quantize", rounding + keep_s, driver_b, worker_b)]
    if balanced:
        calibrated = [
            passing,
            Stage("measure tiles", 2 * rounding, driver_b, worker_b),
            Stage("calibrate again", passing.seconds, passing.driver_b, passing.worker_b),
            calibrated[1],
        ]
    if transform != "none":
        seconds = _inputs_madds(model.layers, windows * length) / rates.madds_per_s
        if transform == "awq":  # the output error of every candidate, by the Hessian
            seconds += AWQ_POINTS * sum(x.weights * x.in_features for x in model.layers) / rates.madds_per_s
        calibrated.insert(0, Stage(f"{transform} scales", seconds, passing.driver_b, max(passing.worker_b, worker_b)))
    return Plan(
        model.name, weights, model.stored_b, written, (read, books, *free, *pack), (read, books, *calibrated, *pack)
    )


def _blocks(layers: Sequence[Shape]) -> list[list[Shape]]:
    blocks: dict[int, list[Shape]] = {}
    for layer in layers:
        blocks.setdefault(layer.block, []).append(layer)
    return list(blocks.values())


def _inputs(layers: Sequence[Shape]) -> dict[int, int]:
    """The width of every input that is summed once: that of a group."""
    return {layer.group: layer.in_features for layer in layers}


def _sums_b(block: Sequence[Shape]) -> float:
    """Fisher of every weight and x x^T of every input, float32."""
    return 4.0 * (sum(x.weights for x in block) + sum(width**2 for width in _inputs(block).values()))


def _calibration_madds(layers: Sequence[Shape], tokens: int) -> float:
    """Forward, gradient of the input, gradient of the weight: one multiply-add a weight and token each; and x x^T."""
    return _inputs_madds(layers, tokens) + float(tokens) * 2 * sum(x.weights for x in layers)


def _inputs_madds(layers: Sequence[Shape], tokens: int) -> float:
    """Forward, and x x^T."""
    return float(tokens) * (sum(x.weights for x in layers) + sum(w**2 for w in _inputs(layers).values()))


def _rounding_s(layer: Shape, rates: Rates) -> float:
    width = layer.in_features
    return layer.weights * (rates.calibrated_s + rates.calibrated_by_width_s * width) + rates.factor_s * width**3
