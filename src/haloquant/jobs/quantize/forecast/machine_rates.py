"""Measure how fast this machine is with one thread, in a few seconds. A plan computes its times from these rates."""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from tempfile import TemporaryFile

import numpy as np
from scipy.linalg import cho_factor

from haloquant.jobs.engine.threads import one_thread
from haloquant.quant.format.packing import pack, unpack
from haloquant.quant.layer import quantize_weight
from haloquant.quant.rounding.refinement import DEFAULT_SHARE, quantize_weight_refined
from haloquant.quant.sparse import split
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.records import CalibrationDtype, Codebook, LayerStatistics, OperatingPoint

PROBE = (4096, 4096)  # as large as real layers: a smaller one would stay in the caches
PROBE_FILE = 32 << 20  # bytes
NARROW, WIDE, ROWS = 256, 1024, 128  # input widths and number of rows of the calibrated layers that are timed


@dataclass(frozen=True)
class Rates:
    """The speed of this machine with one thread.

    A calibrated weight takes `calibrated_s` + `calibrated_by_width_s` x (input features of its layer) seconds. The
    Cholesky factor of a layer's Hessian takes `factor_s` x (input features)^3 seconds.
    """

    free_weights_per_s: float  # without calibration: read as bf16, sparse part, scale search, rounding, packing
    packed_weights_per_s: float  # read packed, checked, and packed again for the model
    calibrated_s: float
    calibrated_by_width_s: float
    factor_s: float
    madds_per_s: float  # multiply-adds of float32 matrix products
    block_madds_per_s: float  # those of the matrix products of a decoder block in calibration
    exps_per_s: float  # exponentials of float32, for the softmax of attention
    hash_b_per_s: float  # bytes of a file read and hashed
    write_b_per_s: float  # bytes of a file written and flushed


@cache
def measure_rates(refined: bool = True, dtype: CalibrationDtype = "float32") -> Rates:
    """Return the speed of this machine. The first call of a process takes about five seconds.

    Args:
        refined: Whether calibrated layers are refined, as those with tiles of fewer than 16 words are by default.
        dtype: Type of the matrix products of calibration. bfloat16 needs torch.
    """
    rng = np.random.default_rng(0)
    with one_thread():
        rounded, grid = rounding_call(PROBE), make_grid(*PROBE)
        made, count = rounded(), PROBE[0] * PROBE[1]
        free = count / _fastest(rounded)
        packed = count / _fastest(lambda: pack(unpack(made, "probe", _BOOKS, grid.tile_out, grid.tile_in)))
        narrow, wide = (_calibrated_s(rng, width, DEFAULT_SHARE if refined else 0.0) for width in (NARROW, WIDE))
        by_width = max((wide - narrow) / (WIDE - NARROW), 0.0)
        square = rng.standard_normal((WIDE, WIDE)).astype(np.float32)
        madds_per_s = WIDE**3 / _fastest(lambda: square @ square)
        positive = square @ square.T + WIDE * np.eye(WIDE, dtype=np.float32)
        return Rates(
            free,
            packed,
            max(narrow - by_width * NARROW, 0.0),
            by_width,
            _fastest(lambda: cho_factor(positive)) / WIDE**3,
            madds_per_s,
            madds_per_s if dtype == "float32" else _bfloat16_madds_per_s(square),
            square.size / _fastest(lambda: np.exp(square)),
            *_file_rates(),
        )


def rounding_call(shape: tuple[int, int]) -> Callable[[], dict[str, np.ndarray]]:
    """Return a function that does the work of a worker on one layer without calibration, with random weights.

    It converts bf16 to float32, takes out the sparse weights, rounds the rest and packs it.
    """
    weight = np.random.default_rng(0).standard_normal(shape, np.float32)
    tiles, halves = uniform_map("probe", make_grid(*shape)), (weight.view(np.uint32) >> 16).astype(np.uint16)

    def rounded() -> dict[str, np.ndarray]:
        seen = (halves.astype(np.uint32) << 16).view(np.float32)
        np.dot(seen.ravel(), seen.ravel())  # a reader checks in the same way that all values are finite
        sparse, _ = split(seen, layer="probe")
        return pack(quantize_weight(seen, tiles=tiles, codebooks=_BOOKS, sparse=sparse))

    return rounded


def _bfloat16_madds_per_s(square: np.ndarray) -> float:
    """Return the multiply-adds per second of one thread in a product of bfloat16, conversion of a weight included."""
    import torch

    weight = torch.from_numpy(square)
    x, before = weight.bfloat16(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return WIDE**3 / _fastest(lambda: x @ weight.bfloat16())
    finally:
        torch.set_num_threads(before)


def _file_rates() -> tuple[float, float]:
    """Return the bytes hashed and the bytes written per second of processor time, with a temporary file."""
    data = bytes(PROBE_FILE)
    with TemporaryFile() as file:

        def write() -> None:
            file.seek(0)
            file.truncate()
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

        def check() -> None:
            file.seek(0)
            hashlib.file_digest(file, "sha256")

        writing = _fastest(write)
        return PROBE_FILE / _fastest(check), PROBE_FILE / writing


def _calibrated_s(rng: np.random.Generator, width: int, share: float) -> float:
    """Return the seconds for one weight of a calibrated layer of this width, a share of whose tiles is refined."""
    weight = rng.standard_normal((ROWS, width), np.float32)
    inputs = rng.standard_normal((2 * width, width), np.float32)
    known = LayerStatistics("probe", 2 * width, hessian=inputs.T @ inputs / np.float32(width), source="probe")
    tiles = uniform_map("probe", make_grid(ROWS, width))

    def round_layer() -> None:
        quantize_weight_refined(weight, tiles=tiles, codebooks=_BOOKS, statistics=known, share=share)

    return _fastest(round_layer) / weight.size


def _fastest(call: Callable[[], object]) -> float:
    """Return the shorter processor time of two calls in seconds, after a first call that compiles."""
    call()
    best = float("inf")
    for _ in range(2):
        began = time.process_time()  # does not count the time of other programs
        call()
        best = min(best, time.process_time() - began)
    return best


_WORDS = np.array([-112, -80, -56, -40, -28, -18, -10, -4, 0, 4, 10, 18, 28, 40, 64, 96], np.int16)
_BOOKS = (Codebook("probe", _WORDS, OperatingPoint(1.0, 1e9), 0.0),)
