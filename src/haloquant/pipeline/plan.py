"""What a quantization would take: memory and time of every stage, from shapes alone. No weight is read.

Memory follows from what is held at once, counted below. Time follows from work counted in weights and multiply-adds,
at rates that a short probe measures on this machine with one thread; so it is that of one worker, and tasks divide it
by the workers. What is counted per layer is the same for each block, so everything but the largest layer's memory
grows linearly with the number of blocks, and so with the weights.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor

from haloquant.accel.shapes import ModelShape
from haloquant.config import Transform
from haloquant.lm.calibration_sizes import SHARD_WINDOWS
from haloquant.lm.checkpoint import Checkpoint
from haloquant.lm.writing import SHARD_BYTES
from haloquant.pipeline.limits import one_thread
from haloquant.pipeline.transformed import AWQ_POINTS
from haloquant.quant.packing import pack, unpack
from haloquant.quant.refine import quantize_weight_refined
from haloquant.quant.sparse import split
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.quant.weight import quantize_weight
from haloquant.types import Codebook, LayerStatistics, OperatingPoint

# Interpreter, numpy, scipy and numba; torch and transformers on top. Resident sizes seen after their imports.
BASE_B, TORCH_B = 250e6, 450e6
BITS = 4.25  # stored bits a weight, as packed models of the demo have with their scales and sparse part
PROBE = (512, 2048)
NARROW, WIDE, ROWS = 256, 1024, 128


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
class Rates:
    """This machine, with one thread."""

    free_weights_per_s: float  # read as bf16, sparse part, searched scales and nearest rounding, packed
    packed_weights_per_s: float  # read packed, checked, and packed again for the model
    calibrated_s: float  # of a calibrated weight, whatever its layer's width
    calibrated_by_width_s: float  # of a calibrated weight, for each input feature of its layer
    factor_s: float  # of a Cholesky factor, for each cubed input feature
    madds_per_s: float  # float32 matrix products
    hash_b_per_s: float


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
    read = Stage("read and hash", model.stored_b / rates.hash_b_per_s, BASE_B, 0.0)
    books = Stage("choose codebooks", 10.0, BASE_B + 4.0 * largest, 0.0)
    pack = Stage(
        "pack and write",
        weights / rates.packed_weights_per_s + (written + model.stored_b) / rates.hash_b_per_s,
        # A shard waits while the next tensor is read; the largest are the embedding and the head, about half of what
        # is kept each, and in the widest models larger than a shard.
        BASE_B + max(min(written, float(SHARD_BYTES)), model.kept_b / 2) + model.kept_b / 2,
        0.0,
    )
    # One layer: weight, dense part, error and scratch in float32, codes and classes in bytes.
    layer_b = 14.0 * largest
    once = weights / rates.free_weights_per_s
    free = [Stage("quantize", once, BASE_B + layer_b, BASE_B + layer_b)]
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
    calibrated = [passing, Stage("quantize", rounding, driver_b, worker_b)]
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
        model.name, weights, model.stored_b, written, (read, books, *free, pack), (read, books, *calibrated, pack)
    )


def workers_for(plan: Plan, calibrated: bool, cores: int, memory_b: float) -> int:
    """As many workers as there are cores and memory for, and worth starting: one for each 50 million weights."""
    stages = plan.calibrated if calibrated else plan.free
    spare = memory_b * 0.8 - plan.peak_b(calibrated)
    fit = int(spare / max(stage.worker_b for stage in stages))
    return max(1, min(cores, fit, plan.weights // 50_000_000))


def probe() -> Rates:
    """Measure this machine for about two seconds, after a warm-up that compiles."""
    rng = np.random.default_rng(0)
    with one_thread():
        weight = rng.standard_normal(PROBE, np.float32)
        tiles = uniform_map("probe", make_grid(*PROBE))

        halves = (weight.view(np.uint32) >> 16).astype(np.uint16)

        def rounded() -> dict[str, np.ndarray]:
            seen = (halves.astype(np.uint32) << 16).view(np.float32)
            np.dot(seen.ravel(), seen.ravel())  # as a reader looks for what is not finite
            sparse, _ = split(seen, layer="probe")
            return pack(quantize_weight(seen, tiles=tiles, codebooks=_BOOKS, sparse=sparse))

        made, grid = rounded(), tiles.grid
        free = weight.size / _fastest(rounded)
        packed = weight.size / _fastest(lambda: pack(unpack(made, "probe", _BOOKS, grid.tile_out, grid.tile_in)))
        narrow, wide = _calibrated_s(rng, NARROW), _calibrated_s(rng, WIDE)
        by_width = max((wide - narrow) / (WIDE - NARROW), 0.0)
        square = rng.standard_normal((WIDE, WIDE)).astype(np.float32)
        positive = square @ square.T + WIDE * np.eye(WIDE, dtype=np.float32)
        return Rates(
            free,
            packed,
            max(narrow - by_width * NARROW, 0.0),
            by_width,
            _fastest(lambda: cho_factor(positive)) / WIDE**3,
            WIDE**3 / _fastest(lambda: square @ square),
            (8 << 20) / _fastest(lambda: hashlib.sha256(bytes(8 << 20))),
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


def _calibrated_s(rng: np.random.Generator, width: int) -> float:
    """Seconds for a weight of a calibrated layer of this width."""
    weight = rng.standard_normal((ROWS, width), np.float32)
    inputs = rng.standard_normal((2 * width, width), np.float32)
    known = LayerStatistics("probe", 2 * width, hessian=inputs.T @ inputs / np.float32(width), source="probe")
    tiles = uniform_map("probe", make_grid(ROWS, width))
    call = lambda: quantize_weight_refined(weight, tiles=tiles, codebooks=_BOOKS, statistics=known)  # noqa: E731
    return _fastest(call) / weight.size


def _fastest(call: Callable[[], object]) -> float:
    """The quicker of two calls, in CPU seconds, after one that compiles."""
    call()
    best = float("inf")
    for _ in range(2):
        began = time.process_time()  # other programs, and further threads, are not to count
        call()
        best = min(best, time.process_time() - began)
    return best


_WORDS = np.array([-112, -80, -56, -40, -28, -18, -10, -4, 0, 4, 10, 18, 28, 40, 64, 96], np.int16)
_BOOKS = (Codebook("probe", _WORDS, OperatingPoint(1.0, 1e9), 0.0),)
