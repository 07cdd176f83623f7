"""Decode on the CPU: y = W x from packed codes against torch's own matrix-vector products, in one run.

The floor is the time to read the stored bytes at the bandwidth that a copy reaches here. CPU seconds are given beside
wall seconds, since a shared machine stretches the latter.

    python bench/gemv.py --threads 2
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import torch

from haloquant.kernels import cpu, dispatch
from haloquant.kernels.layer import PackedLayer, packed_layer
from haloquant.quant.encodings import encode
from haloquant.types import TileGrid

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


def measure(run: Callable[[], object], repeats: int) -> dict[str, float]:
    """Best and median of wall and CPU seconds."""
    wall, used = [], []
    run()
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - start)
        used.append(time.process_time() - start_cpu)
    return {
        "wall_s": min(wall),
        "wall_median_s": float(np.median(wall)),
        "cpu_s": min(used),
        "cpu_median_s": float(np.median(used)),
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--shape", type=int, nargs=2, default=(4096, 11008), metavar=("OUT", "IN"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    numba.set_num_threads(arguments.threads)
    out_features, in_features = arguments.shape
    x = torch.randn(1, in_features)
    weights = out_features * in_features
    rows: dict[str, dict[str, float]] = {}
    source = np.ones(1 << 25, np.float32)
    target = np.empty_like(source)
    copied = measure(lambda: np.copyto(target, source), arguments.repeats)
    bandwidth = 2 * source.nbytes / copied["wall_s"]
    for name, fast_share, sparse in (
        ("sixteen words", 0, 0),
        ("nine words", 1, 0),
        ("half and half", 0.5, 0),
        ("half and half, 0.5 % sparse", 0.5, 0.005),
    ):
        layer = random_layer(out_features, in_features, fast_share, sparse)
        row = measure(lambda layer=layer: dispatch.linear(x, layer), arguments.repeats)
        floor = {"bits_per_weight": 8 * layer.bytes / weights, "floor_s": layer.bytes / bandwidth}
        rows[name] = row | floor
    for name, dtype in (("torch bfloat16", torch.bfloat16), ("torch float32", torch.float32)):
        dense, vector = torch.randn(out_features, in_features, dtype=dtype), x.to(dtype)
        row = measure(lambda dense=dense, vector=vector: torch.nn.functional.linear(vector, dense), arguments.repeats)
        floor = {"bits_per_weight": 8.0 * dense.itemsize, "floor_s": dense.nbytes / bandwidth}
        rows[name] = row | floor
    for row in rows.values():
        for clock in ("wall", "cpu"):
            row[f"times_faster_than_bf16_{clock}"] = rows["torch bfloat16"][f"{clock}_s"] / row[f"{clock}_s"]
    head = {"shape": [out_features, in_features], "threads": arguments.threads, "vector_kernels": cpu.FAST}
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    head |= {"cpu": model.split(":")[-1].strip(), "copy_bandwidth_bytes_per_s": bandwidth}
    print(json.dumps(head | {"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
