"""How fast, and with how much memory, a checkpoint is read and quantized layer by layer; prints one JSON object.

    python bench/checkpoint.py FOLDER [--cold] [--quantize] [--export NEW_FOLDER]

Each figure comes with its floor on this machine: reading the same files into one buffer and dropping the bytes.
`--cold` first asks the kernel to drop the files from its cache. `--quantize` quantizes the layers without data: 3-sigma
outliers are sparse, scales are searched, rounding is to nearest; half of the tiles have a codebook of 9 words and half
one of 16 words, with words that are fast on a Booth MAC. `--export` also writes the packed model. make_checkpoint.py
makes FOLDER.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer, open_checkpoint, read_weight
from haloquant.lm.export.packed import export_packed
from haloquant.quant.layer import quantize_weight
from haloquant.quant.sparse import split
from haloquant.quant.tiles import make_grid
from haloquant.records import Codebook, OperatingPoint, QuantizedWeight, TileMap


def forget(files: Sequence[Path]) -> None:
    """Ask the kernel to drop the files from its page cache (clean pages only)."""
    for file in files:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def floor_seconds(files: Sequence[Path]) -> tuple[float, float]:
    """Wall and CPU time of reading every byte into one buffer."""
    buffer = bytearray(1 << 20)
    began, cpu = time.perf_counter(), time.process_time()
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
    return time.perf_counter() - began, time.process_time() - cpu


def codebooks() -> tuple[Codebook, ...]:
    """Return two codebooks; only the time of quantizing with them matters, not their delays."""
    fast = np.array([-128, -64, -32, -16, 0, 16, 32, 64, 96], np.int16)
    slow = np.arange(-128, 128, 16, np.int16)
    return tuple(Codebook(n, v, OperatingPoint(1.0, f), 0.0) for n, v, f in (("fast", fast, 3e9), ("slow", slow, 2e9)))


def quantize(layer: LinearLayer, weight: np.ndarray) -> QuantizedWeight:
    """One layer data-free, tiles of 128 x 128, classes in turn."""
    grid = make_grid(layer.out_features, layer.in_features, 128, 128)
    classes = (np.add.outer(np.arange(grid.down), np.arange(grid.across)) % 2).astype(np.uint8)
    kept, _ = split(weight, layer=layer.name)
    return quantize_weight(weight, tiles=TileMap(layer.name, grid, classes), codebooks=codebooks(), sparse=kept)


def stream(checkpoint: Checkpoint, quantized: bool) -> Iterator[QuantizedWeight | None]:
    """One layer after the other."""
    buffer = np.empty(max(layer.weights for layer in checkpoint.layers), np.float32)
    for layer in checkpoint.layers:
        weight = read_weight(checkpoint, layer, buffer)
        yield quantize(layer, weight) if quantized else None


def measure(checkpoint: Checkpoint, quantized: bool, target: Path | None) -> dict[str, float]:
    """One pass over all layers."""
    began, cpu = time.perf_counter(), time.process_time()
    weights = sum(layer.weights for layer in checkpoint.layers)
    report: dict[str, float] = {"weights": weights}
    if target is None:
        for _ in stream(checkpoint, quantized):
            pass
    else:
        made = (q for q in stream(checkpoint, True) if q is not None)
        done = export_packed(checkpoint, made, target, profile_name="bench", profile_sha256="0" * 64)
        report |= {"bits_per_weight": done.bits.per_weight, "written_bytes": done.total_bytes}
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return report | {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "weights_per_s": weights / seconds,
        "cpu_seconds_per_million_weights": cpu / weights * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--quantize", action="store_true")
    parser.add_argument("--export", type=Path, help="a new folder for the packed model")
    given = parser.parse_args()
    began = time.perf_counter()
    checkpoint = open_checkpoint(given.folder)
    opened = time.perf_counter() - began
    if given.cold:
        forget(checkpoint.files)
    if given.quantize or given.export:  # compile the kernels outside the clock
        layer = checkpoint.layers[0]
        quantize(layer, read_weight(checkpoint, layer))
    streamed = measure(checkpoint, given.quantize, given.export)
    if given.cold:
        forget(checkpoint.files)
    floor, floor_cpu = floor_seconds(checkpoint.files)
    size = sum(file.stat().st_size for file in checkpoint.files)
    report = {
        "folder_bytes": size,
        "layers": len(checkpoint.layers),
        "open_seconds": opened,
        "cold": given.cold,
        "streamed": streamed,
        "floor": {"what": "read the files, drop the bytes", "seconds": floor, "cpu_seconds": floor_cpu},
        "times_the_floor": streamed["seconds"] / floor,
        "times_the_floor_in_cpu": streamed["cpu_seconds"] / floor_cpu,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "largest_layer_bytes_float32": 4 * max(layer.weights for layer in checkpoint.layers),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
