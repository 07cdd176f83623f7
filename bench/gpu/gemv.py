"""Packed products on a GPU: decode and prefill against torch's bf16 product, and against the board's copy bandwidth.

Decode is bound by bytes: the floor is what is stored, at the bandwidth that a large copy reaches in the same run. The
weights of a round are taken from a ring that is larger than the second-level cache. Where there is no GPU it says so
and ends with 0.

    python bench/gpu/gemv.py --shape 4096 11008 --shape 8192 28672
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gemv import random_layer

from haloquant.kernels.layer import PackedLayer, PackedSparse

RING_BYTES = 256 << 20


def to_device(layer: PackedLayer) -> PackedLayer:
    """The same layer on the GPU."""
    names = ("packed", "scale", "classes", "offsets", "table", "words", "counts")
    moved = {name: getattr(layer, name).cuda() for name in names}
    sparse = layer.sparse
    if sparse is not None:
        sparse = PackedSparse(sparse.row_ptr.cuda(), sparse.col.cuda(), sparse.value.cuda(), sparse.scale.cuda())
    return PackedLayer(layer.grid, sizes=layer.sizes, sparse=sparse, **moved)


def seconds(runs: Sequence[Callable[[], object]], repeats: int) -> float:
    """Median time of one run, each of them captured in a graph of all, so that launches do not count."""
    for run in runs:
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for run in runs:
            run()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / len(runs))
    return sorted(times)[repeats // 2]


def measure(shape: tuple[int, int], tokens: int, repeats: int) -> dict[str, dict[str, float]]:
    """Times and ratios of one shape."""
    from haloquant.kernels import gpu

    out_features, in_features = shape
    x = torch.randn(tokens, in_features, dtype=torch.bfloat16, device="cuda")
    copies = max(2, RING_BYTES // (out_features * in_features * 2))
    dense = [torch.randn(out_features, in_features, dtype=torch.bfloat16, device="cuda") for _ in range(copies)]
    plain = seconds([lambda w=w: torch.nn.functional.linear(x, w) for w in dense], repeats)
    del dense
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    bandwidth = 2 * source.numel() / seconds([lambda: target.copy_(source)], repeats)
    del source, target
    rows = {"torch bfloat16": {"seconds": plain}}
    for name, fast_share, sparse in (
        ("sixteen words", 0.0, 0.0),
        ("nine words", 1.0, 0.0),
        ("half and half, 0.5 % sparse", 0.5, 0.005),
    ):
        layer = random_layer(*shape, fast_share, sparse)
        copies = max(2, RING_BYTES // layer.bytes)
        ring = [to_device(layer) for _ in range(copies)]
        time = seconds([lambda one=one: gpu.linear(x, one) for one in ring], repeats)
        floor = layer.bytes / bandwidth
        rows[name] = {
            "seconds": time,
            "floor_s": floor,
            "share_of_copy_bandwidth": floor / time,
            "times_faster_than_bf16": plain / time,
        }
        del ring
    return rows | {"copy": {"bytes_per_s": bandwidth}}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=2, action="append", metavar=("OUT", "IN"))
    parser.add_argument("--tokens", type=int, nargs="*", default=[1, 2048])
    parser.add_argument("--repeats", type=int, default=21)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print(json.dumps({"skipped": "there is no CUDA device here: the row stays open"}))
        return
    shapes = [tuple(shape) for shape in arguments.shape or [(4096, 11008), (8192, 28672)]]
    results = {
        f"{out} x {width}, {count} tokens": measure((out, width), count, arguments.repeats)
        for out, width in shapes
        for count in arguments.tokens
    }
    print(json.dumps({"device": torch.cuda.get_device_name(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
