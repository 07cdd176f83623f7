"""What a quantization would take, from headers alone: memory, disk, time."""

import time
from dataclasses import dataclass

import numpy as np

from haloquant.lm.checkpoint import Checkpoint
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.quant.weight import quantize_weight
from haloquant.types import Codebook, OperatingPoint

# Interpreter, numpy, scipy and numba; torch and transformers on top.
BASE_B, TORCH_B = 250e6, 450e6
PROBE = (512, 2048)


@dataclass(frozen=True)
class Prediction:
    """What it would take. Linear in the number of weights but for the largest layer, which sets the memory."""

    weights: int
    read_b: float
    written_b: float
    peak_free_b: float
    peak_calibrated_b: float
    free_s: float


def predict(checkpoint: Checkpoint, bits_per_weight: float = 4.25) -> Prediction:
    """Predict a quantization of this checkpoint on this machine; the rate of rounding is measured on a small layer."""
    layers = checkpoint.layers
    sizes = [layer.out_features * layer.in_features for layer in layers]
    weights, largest = sum(sizes), max(sizes)
    stored = sum(float(t.size_bytes) for t in checkpoint.tensors.values())
    quantized = sum(float(checkpoint.tensors[t].size_bytes) for t in {layer.tensor for layer in layers})
    written = stored - quantized + weights * bits_per_weight / 8
    widest = max(layer.in_features for layer in layers)
    blocks: dict[int | None, int] = {}
    for layer, size in zip(layers, sizes, strict=True):
        blocks[layer.block] = blocks.get(layer.block, 0) + size
    # Free: weight, dense part, error and codes of one layer. Calibrated: one block in float32 with gradients, Fisher
    # and Hessians, and the factor of the widest of them.
    free = BASE_B + 14.0 * largest
    calibrated = BASE_B + TORCH_B + 12.0 * max(blocks.values()) + 16.0 * widest**2 + 14.0 * largest
    return Prediction(weights, stored, written, free, calibrated, weights / _rate())


def _rate() -> float:
    """Weights per second of searched scales and nearest rounding, after a warm-up that compiles."""
    weight = np.random.default_rng(0).standard_normal(PROBE, np.float32)
    values = np.array([-112, -80, -56, -40, -28, -18, -10, -4, 0, 4, 10, 18, 28, 40, 64, 96], np.int16)
    book = (Codebook("probe", values, OperatingPoint(1.0, 1e9), 0.0),)
    tiles = uniform_map("probe", make_grid(*PROBE))
    quantize_weight(weight, tiles=tiles, codebooks=book)
    begin = time.perf_counter()
    quantize_weight(weight, tiles=tiles, codebooks=book)
    return weight.size / (time.perf_counter() - begin)
