"""How fast, and with how much memory, a checkpoint is read layer by layer; prints one JSON object.

    python bench/checkpoint.py FOLDER [--cold] [--quantize]

Beside each figure stands its floor on this machine: reading the same files into one buffer and dropping the bytes.
`--cold` asks the kernel to forget the files first. `--quantize` also rounds every layer data-free (int4, one scale per
output channel and 128 inputs, numpy), as a stand-in for a method that holds one layer. make_checkpoint.py makes FOLDER.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from haloquant.lm.checkpoint import Checkpoint, open_checkpoint, stream_weights


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


def round_int4(weight: np.ndarray, group: int = 128) -> float:
    """Round to nearest in 4 bits, in row chunks; returns the squared error, so that nothing is optimised away."""
    error = 0.0
    for rows in np.array_split(weight, max(1, weight.size >> 21)):
        padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % group))).reshape(len(rows), -1, group)
        scale = np.maximum(np.abs(padded).max(-1, keepdims=True), 1e-30) / 7
        error += float(np.square(np.rint(padded / scale) * scale - padded).sum())
    return error


def measure(checkpoint: Checkpoint, quantize: bool) -> dict[str, float]:
    """One pass over all layers."""
    began, cpu = time.perf_counter(), time.process_time()
    weights, error = 0, 0.0
    for layer, weight in stream_weights(checkpoint):
        weights += layer.weights
        if quantize:
            error += round_int4(weight)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "weights": weights,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "weights_per_s": weights / seconds,
        "cpu_seconds_per_million_weights": cpu / weights * 1e6,
        "squared_error": error,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--quantize", action="store_true")
    given = parser.parse_args()
    began = time.perf_counter()
    checkpoint = open_checkpoint(given.folder)
    opened = time.perf_counter() - began
    if given.cold:
        forget(checkpoint.files)
    streamed = measure(checkpoint, given.quantize)
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
