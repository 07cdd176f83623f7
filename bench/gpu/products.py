"""Check the results of packed products on a GPU, and measure the speed of decode and prefill."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from tools import (
    DEVICE,
    KERNELS,
    KINDS,
    Bench,
    Kind,
    Times,
    against,
    dense_ring,
    forget_picks,
    picks,
    random_layer,
    ring_of,
)
from torch.nn.functional import linear

from haloquant.kernels import fallback
from haloquant.kernels.cuda import launch as in_cuda
from haloquant.kernels.layer_tensors import PackedLayer
from haloquant.kernels.triton import launch

BOUNDS = {torch.bfloat16: 0.005, torch.float32: 1e-6}  # of the sum of the sizes of all products


def shapes_of(bench: Bench) -> list[tuple[int, int]]:
    """Outputs and inputs of the layers that are timed."""
    return [(32, 64)] if bench.tiny else [(4096, 11008), (8192, 28672)]


@contextmanager
def one_way(kernel: Any, config: Any) -> Iterator[None]:
    """Run a kernel in one way, without its tuner."""
    kept = kernel.configs
    kernel.configs = [config]
    try:
        yield
    finally:
        kernel.configs = kept


def used(x: torch.Tensor, layer: PackedLayer) -> Any:
    """Return the kernels that a model uses: those in CUDA C++ for few tokens and full tiles, else those in Triton."""
    return in_cuda if in_cuda.takes(x, layer) else launch


def linear_of(x: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Multiply as a model does."""
    return used(x, layer).linear(x, layer)


def integer_linear_of(x: torch.Tensor, scale: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Multiply int8 tokens as a model does."""
    return used(x, layer).integer_linear(x, scale, layer)


def float_errors(x: torch.Tensor, layer: PackedLayer, weight: torch.Tensor, kernels: Any) -> dict[str, Any]:
    """Errors of a float product against float64, and whether a second run gives the same bits."""
    y, again = kernels.linear(x, layer), kernels.linear(x, layer)
    exact = x.double() @ weight.T
    size = x.double().abs() @ weight.abs().T
    worst = ((y.double() - exact).abs() / (size + 1e-12)).max().item()
    return {
        "worst": worst,
        "bound": BOUNDS[x.dtype],
        "norm": ((y.double() - exact).norm() / exact.norm()).item(),
        "right": worst <= BOUNDS[x.dtype],
        "same_bits_twice": torch.equal(y, again),
    }


def int_errors(x: torch.Tensor, layer: PackedLayer, kernels: Any) -> dict[str, Any]:
    """Check that the integer product equals the reference bit for bit, and that a second run gives the same bits."""
    scale = torch.rand(x.shape[0], device=DEVICE)
    y, again = kernels.integer_linear(x, scale, layer), kernels.integer_linear(x, scale, layer)
    right = torch.equal(y, fallback.integer_linear(x, scale, layer))
    return {"right": right, "same_bits_twice": torch.equal(y, again)}


def tokens_of(count: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    """Random inputs."""
    if dtype == torch.int8:
        return torch.randint(-127, 128, (count, width), dtype=dtype, device=DEVICE)
    return torch.randn(count, width, device=DEVICE).to(dtype)


def check(
    bench: Bench, layer: PackedLayer, weight: torch.Tensor, count: int, dtype: torch.dtype, **labels: Any
) -> None:
    """One row: a product of `tokens` tokens of this type."""
    x = tokens_of(count, layer.grid.in_features, dtype)
    kinds = {"Triton": launch} | ({"CUDA C++": in_cuda} if in_cuda.takes(x, layer) else {})
    for name, kernels in kinds.items():
        if bench.part is not None:
            scale = torch.rand(count, device=DEVICE)
            kernels.integer_linear(x, scale, layer) if dtype == torch.int8 else kernels.linear(x, layer)
            continue
        errors = int_errors(x, layer, kernels) if dtype == torch.int8 else float_errors(x, layer, weight, kernels)
        bench.row(**labels, tokens=count, inputs=str(dtype)[6:], kernels=name, **errors)


def correctness(bench: Bench) -> None:
    """Compare kernels with the reference: the first configuration for many token counts, then every configuration."""
    counts = (1, 5) if bench.tiny else (1, 2, 4, 7, 16, 64)
    shapes = [(32, 64)] if bench.tiny else [(1024, 2048), (1000, 1932)]
    tile = 32 if bench.tiny else 128
    names = [name for name in KINDS if "model" not in name]
    for shape in shapes:
        for name in names:
            kind = Kind(KINDS[name].books, KINDS[name].fast_share, 4 * KINDS[name].sparse)
            layer = random_layer(shape, kind, tile, seed=1)
            weight = fallback.dequantize(layer).double() if bench.part is None else layer.table
            labels = {"shape": shape, "weights": name}
            for dtype in (torch.bfloat16, torch.float32, torch.int8):
                for count in counts:
                    if not bench.mine():
                        continue
                    action = partial(check, bench, layer, weight, count, dtype, **labels)
                    with ExitStack() as first:
                        for kernel in KERNELS.values():
                            first.enter_context(one_way(kernel, kernel.configs[0]))
                        bench.attempt(action, **labels, tokens=count, inputs=str(dtype)[6:])
            if shape == shapes[0]:
                bench.attempt(partial(special, bench, layer, **labels), **labels)
    every_way(bench, shapes[0], tile)


def special(bench: Bench, layer: PackedLayer, **labels: Any) -> None:
    """An infinite input gives no finite output, and zeros give zeros."""
    if bench.part is not None or bench.tiny:
        return
    with one_way(KERNELS["gemv"], KERNELS["gemv"].configs[0]):
        x = torch.ones(1, layer.grid.in_features, device=DEVICE)
        zeros = launch.linear(torch.zeros_like(x), layer).eq(0).all().item()
        x[0, 3] = float("inf")
        lost = launch.linear(x, layer).isfinite().any().item()
    bench.row(**labels, tokens=1, inputs="infinity, then zeros", right=bool(zeros and not lost))


def every_way(bench: Bench, shape: tuple[int, int], tile: int) -> None:
    """Return all configurations (rows and warps) that the tuner could choose."""
    name = "half and half, 0.5 % sparse"
    layer = random_layer(shape, KINDS[name], tile, seed=2)
    weight = fallback.dequantize(layer).double() if bench.part is None else layer.table
    for kernel, count in (("gemv", 2), ("gemm", 16), ("gemm", 64), ("dequantize", 16)):
        for config in KERNELS[kernel].configs:
            for dtype in (torch.bfloat16, torch.int8):
                if not bench.mine() or bench.tiny:
                    continue
                way = f"{config.kwargs['ROWS']}x{config.num_warps}"
                labels = {"shape": shape, "weights": name, "kernel": kernel, "way": way}
                with one_way(KERNELS[kernel], config):
                    bench.attempt(partial(check, bench, layer, weight, count, dtype, **labels), **labels, tokens=count)


def copying(bench: Bench) -> None:
    """Bandwidth of a large copy within the device, three times."""
    for _ in range(3):
        bench.row(bytes_per_s=bench.bandwidth())


def decode(bench: Bench) -> None:
    """A few tokens, weights from a ring: bfloat16 inputs and int8 inputs."""
    counts = (1, 5) if bench.tiny else (1, 4, 16)
    bandwidth = bench.bandwidth()
    bench.row(copy_bytes_per_s=bandwidth)
    for shape in shapes_of(bench):
        plain = plain_times(bench, shape, counts, bandwidth)
        for name, kind in KINDS.items():
            labels = {"shape": shape, "weights": name}
            bench.attempt(partial(decode_layer, bench, shape, name, kind, counts, plain, bandwidth), **labels)


def plain_times(bench: Bench, shape: tuple[int, int], counts: tuple[int, ...], bandwidth: float) -> dict[int, Times]:
    """Times of torch's bfloat16 product, by the number of tokens."""
    ring = dense_ring(shape, bench.tiny or bench.part is not None)
    found = {}
    for count in counts:
        x = tokens_of(count, shape[1], torch.bfloat16)
        found[count] = bench.times([partial(linear, x, weight) for weight in ring])
        stored = 2 * shape[0] * shape[1]
        row = against(found[count], None, stored, bandwidth)
        bench.row(shape=shape, weights="torch bfloat16", tokens=count, inputs="bfloat16", **row)
    return found


def decode_layer(
    bench: Bench,
    shape: tuple[int, int],
    name: str,
    kind: Kind,
    counts: tuple[int, ...],
    plain: dict[int, Times],
    bandwidth: float,
) -> None:
    """All rows of one shape and kind of weights."""
    layer = random_layer(shape, kind, 32 if bench.tiny else 128)
    ring = ring_of(layer, bench.tiny or bench.part is not None)
    checked = bench.part is None and shape == shapes_of(bench)[0]
    weight = fallback.dequantize(layer).double() if checked else layer.table
    for count in counts[:1] if "model" in name else counts:
        few = count <= launch.MOST_GPU_GEMV_TOKENS
        x = tokens_of(count, shape[1], torch.bfloat16)
        few = few or used(x, layer) is in_cuda
        labels = {"shape": shape, "weights": name, "tokens": count}

        def row(what: str, runs: list[Any], graph: bool, labels: dict[str, Any] = labels, count: int = count) -> None:
            forget_picks()
            time = bench.times(runs, graph=graph)
            row = against(time, plain[count], layer.bytes, bandwidth) | {"in_a_graph": graph, "picks": picks()}
            bench.row(**labels, inputs=what, **row)

        # Building a sparse matrix waits for the device, which a graph cannot hold.
        graph = layer.sparse is None or few
        bench.attempt(
            lambda x=x, graph=graph, row=row: row("bfloat16", [partial(linear_of, x, o) for o in ring], graph)
        )
        if count == counts[0] and used(x, layer) is in_cuda:
            bench.attempt(
                lambda x=x, row=row: row("bfloat16, in Triton", [partial(launch.linear, x, o) for o in ring], True)
            )
        if checked:
            action = partial(check, bench, layer, weight, count, torch.bfloat16, shape=shape, weights=name, check=True)
            bench.attempt(action, **labels, check=True)
        if layer.sparse is not None:
            continue  # the sparse part of the integer product is not made for speed: it builds a dense matrix
        tokens = tokens_of(count, shape[1], torch.int8)
        scale = torch.rand(count, device=DEVICE)
        if few:
            sums = [partial(used(tokens, layer).integer_tile_sums, tokens, one) for one in ring]
            bench.attempt(lambda row=row, sums=sums: row("int8, sums of tiles only", sums, True))
        whole = [partial(integer_linear_of, tokens, scale, one) for one in ring]
        bench.attempt(lambda row=row, whole=whole: row("int8", whole, True))


def kernels(bench: Bench) -> None:
    """Time of each kernel of a decoded token, as torch's profiler gives it."""
    if bench.tiny:
        bench.row(skipped="the profiler of kernels needs a GPU")
        return
    for shape in shapes_of(bench):
        for name in ("sixteen words", "nine words", "half and half, 0.5 % sparse"):
            bench.attempt(partial(profile, bench, shape, name), shape=shape, weights=name)


def profile(bench: Bench, shape: tuple[int, int], name: str) -> None:
    """One row: microseconds of each kernel, the mean over a ring of weights."""
    ring = ring_of(random_layer(shape, KINDS[name]), only_one=False)
    x = tokens_of(1, shape[1], torch.bfloat16)
    forget_picks()
    for one in ring:
        linear_of(x, one)
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for one in ring:
            linear_of(x, one)
        torch.cuda.synchronize()
    found = {}
    for event in profiler.key_averages():
        spent = getattr(event, "device_time_total", 0.0)
        if spent:
            found[event.key[:80]] = {"us": spent / event.count, "launches": event.count / len(ring)}
    bench.row(shape=shape, weights=name, tokens=1, inputs="bfloat16", kernels=found, picks=picks())


def prefill(bench: Bench) -> None:
    """Many tokens, against torch's bfloat16 and int8 products."""
    count = 32 if bench.tiny else 2048
    for shape in shapes_of(bench):
        bench.attempt(partial(prefill_shape, bench, shape, count), shape=shape)


def prefill_shape(bench: Bench, shape: tuple[int, int], count: int) -> None:
    """All rows of one shape."""
    x = tokens_of(count, shape[1], torch.bfloat16)
    tokens = tokens_of(count, shape[1], torch.int8)
    scale = torch.rand(count, device=DEVICE)
    work = 2 * count * shape[0] * shape[1]

    def row(name: str, what: str, run: Any, graph: bool = True, plain: Times | None = None) -> Times:
        forget_picks()
        time = bench.times([run], repeats=9, least=1, graph=graph)
        row = time.row | {"tera_operations_per_s": work / time.median / 1e12, "in_a_graph": graph, "picks": picks()}
        if plain is not None:
            row["times_faster_than_bf16"] = plain.median / time.median
        bench.row(shape=shape, weights=name, tokens=count, inputs=what, **row)
        return time

    [dense] = dense_ring(shape, only_one=True)
    plain = row("torch bfloat16", "bfloat16", partial(linear, x, dense))
    bytes_ = tokens_of(shape[0], shape[1], torch.int8)
    whole = partial(torch._int_mm, tokens, bytes_.t())
    bench.attempt(lambda: row("torch int8", "int8", whole, plain=plain) and None, shape=shape, weights="torch int8")
    del dense, bytes_
    for name, kind in KINDS.items():
        if "model" in name or (kind.sparse and shape != shapes_of(bench)[0]):
            continue
        layer = random_layer(shape, kind, 32 if bench.tiny else 128)
        runs = {"bfloat16": partial(linear_of, x, layer)}
        if layer.sparse is None:
            runs["int8"] = partial(integer_linear_of, tokens, scale, layer)
        for what, run in runs.items():
            graph = layer.sparse is None
            action = partial(row, name, what, run, graph, plain)
            bench.attempt(lambda action=action: action() and None, shape=shape, weights=name, inputs=what)
