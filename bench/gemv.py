"""Decode on the CPU: y = W x from packed codes against torch's own matrix-vector products, in one run.

There are two floors: the time to read the stored bytes at the bandwidth that a copy reaches on this machine, and the
measured time of reading the codes of each layer and doing nothing else, on the same threads. CPU seconds are given
beside wall-clock seconds, because other programs on the machine lengthen the latter. Rows named `int8` are the
accelerator's arithmetic: int8 activations, exact sums. Waiting threads sleep: by
OpenMP's default they would spin, and spinning counts as CPU time. Larger batches show from which size decoding whole
blocks of weights is faster than computing products directly from codes.

    python bench/gemv.py --threads 1 2 --tokens 1 8 64 512
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when numba and torch load OpenMP

import numba
import numpy as np
import torch

from haloquant.kernels import dispatch
from haloquant.kernels.cpu.instruction_set import INSTRUCTION_SET
from haloquant.kernels.layer_tensors import PackedLayer, packed_layer
from haloquant.quant.format.bit_layout import encode
from haloquant.records import TileGrid

NINE = (-64, -32, -16, -8, 0, 8, 16, 32, 64)
SIXTEEN = (-127, -96, -64, -48, -32, -16, -8, -4, 0, 4, 8, 16, 32, 48, 64, 96)


def random_layer(out_features: int, in_features: int, fast_share: float, sparse: float, tile: int = 128) -> PackedLayer:
    """A layer of random codes: `fast_share` of its tiles of nine words, `sparse` of its weights sparse."""
    generator = np.random.default_rng(0)
    grid = TileGrid(out_features, in_features, tile, tile)
    classes = (generator.random((grid.down, grid.across)) < fast_share).astype(np.uint8)
    limit = np.where(classes, 9, 16).repeat(tile, 0).repeat(tile, 1)[:out_features, :in_features]
    codes = (generator.random((out_features, in_features), np.float32) * limit).astype(np.uint8)
    tensors = {
        "weight_packed": encode(codes, classes, (16, 9), grid),
        "weight_scale": generator.normal(0, 1e-3, (out_features, grid.across)).astype(np.float16),
        "weight_tile_class": classes,
        "weight_shape": np.array([out_features, in_features], np.int32),
    }
    counts = np.full(out_features, round(sparse * in_features))
    if counts[0]:
        cols = np.concatenate([np.sort(generator.choice(in_features, n, replace=False)) for n in counts])
        tensors["sparse_row_count"] = counts.astype(np.uint8)
        tensors["sparse_col"] = cols.astype(np.uint16)
        tensors["sparse_value"] = generator.integers(-127, 128, cols.size).astype(np.int8)
        tensors["sparse_scale"] = generator.uniform(1e-4, 1e-3, out_features).astype(np.float16)
    return packed_layer({name: torch.from_numpy(a) for name, a in tensors.items()}, (SIXTEEN, NINE), tile, tile)


def measure(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Return the best and the median of wall-clock and CPU seconds.

    The candidates run in turn, so other programs on the machine disturb all of them equally.
    """
    clocks: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            run()
            clocks[name].append((time.perf_counter() - start, time.process_time() - start_cpu))
    kinds = ("wall", "cpu")
    return {
        name: {f"{kind}_s": min(clock[i] for clock in found) for i, kind in enumerate(kinds)}
        | {f"{kind}_median_s": float(np.median([clock[i] for clock in found])) for i, kind in enumerate(kinds)}
        for name, found in clocks.items()
    }


@numba.njit(parallel=True)
def read(codes: np.ndarray) -> int:
    """Read all codes, in 64-bit integers; the result keeps the compiler from leaving the loop out."""
    found = np.uint64(0)
    for i in numba.prange(codes.size):
        found += codes[i]
    return found


def compare(
    layers: dict[str, PackedLayer], dense: dict[str, torch.Tensor], tokens: int, repeats: int
) -> dict[str, dict[str, float]]:
    """All layers and torch's own products on `tokens` tokens, with ratios to torch's bf16."""
    grid = next(iter(layers.values())).grid
    x = torch.randn(tokens, grid.in_features)
    integers, ones = torch.randint(-127, 128, x.shape, dtype=torch.int8), torch.ones(tokens)
    source = np.ones(1 << 25, np.float32)
    target = np.empty_like(source)
    runs: dict[str, Callable[[], object]] = {"copy": lambda: np.copyto(target, source)}
    for name, layer in layers.items():
        codes = layer.packed.numpy()[: layer.packed.numel() // 8 * 8].view(np.uint64)
        runs[name] = lambda layer=layer: dispatch.linear(x, layer)
        runs[f"{name}, int8"] = lambda layer=layer: dispatch.integer_linear(integers, ones, layer)
        runs[f"{name}, reading the codes"] = lambda codes=codes: read(codes)
    for name, weight in dense.items():
        vector = x.to(weight.dtype)
        runs[name] = lambda weight=weight, vector=vector: torch.nn.functional.linear(vector, weight)
    rows = measure(runs, repeats)
    bandwidth = 2 * source.nbytes / rows.pop("copy")["wall_s"]
    stored = {name: layer.bytes for name, layer in layers.items()} | {n: w.nbytes for n, w in dense.items()}
    for name, row in rows.items():
        base = name.removesuffix(", int8")
        if base in layers:
            for clock in ("wall", "cpu", "wall_median", "cpu_median"):
                row[f"times_reading_the_codes_{clock}"] = (
                    row[f"{clock}_s"] / rows[f"{base}, reading the codes"][f"{clock}_s"]
                )
        if base not in stored:
            continue
        row["bits_per_weight"] = 8 * stored[base] / (grid.out_features * grid.in_features)
        row["floor_s"] = stored[base] / bandwidth
        for clock in ("wall", "cpu", "wall_median", "cpu_median"):
            row[f"times_faster_than_bf16_{clock}"] = rows["torch bfloat16"][f"{clock}_s"] / row[f"{clock}_s"]
    return rows | {"copy": {"bytes_per_s": bandwidth}}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--tokens", type=int, nargs="*", default=[1, 8, 64, 512])
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--tile", type=int, default=128, help="inputs and outputs of a tile")
    parser.add_argument("--shape", type=int, nargs=2, default=(4096, 11008), metavar=("OUT", "IN"))
    arguments = parser.parse_args()
    shape = tuple(arguments.shape)
    layers = {
        "sixteen words": random_layer(*shape, 0, 0, arguments.tile),
        "nine words": random_layer(*shape, 1, 0, arguments.tile),
        "half and half, 0.5 % sparse": random_layer(*shape, 0.5, 0.005, arguments.tile),
    }
    dense = {f"torch {str(d)[6:]}": torch.randn(*shape, dtype=d) for d in (torch.bfloat16, torch.float32)}
    results = {}
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        numba.set_num_threads(threads)
        for tokens in arguments.tokens:
            repeats = max(3, arguments.repeats // max(1, tokens // 8))
            results[f"{threads} threads, {tokens} tokens"] = compare(layers, dense, tokens, repeats)
    head = {
        "shape": shape,
        "tile": arguments.tile,
        "instruction_set": INSTRUCTION_SET,
        "load_average": os.getloadavg()[0],
    }
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    head |= {"cpu": model.split(":")[-1].strip(), "cores_as_seen": os.cpu_count()}
    print(json.dumps(head | {"results": results}, indent=1))


if __name__ == "__main__":
    main()
