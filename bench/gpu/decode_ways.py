"""Time the decode kernel in CUDA C++ with other warps and stages than the shipped ones, and without overlap.

The rows say which `launch_plan.WAYS` would be the fastest on this board. Products are independent, one after another in
a CUDA graph; `overlapped` false lets each wait for the one before.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from products import plain_times, shapes_of, tokens_of
from tools import KINDS, Bench, Times, against, random_layer, ring_of

from haloquant.kernels.cuda import launch, launch_plan, programs
from haloquant.kernels.layer_tensors import PackedLayer
from haloquant.quant.format.bit_layout import NINE

WAYS = ((8, 1), (8, 2), (4, 2), (4, 3), (5, 2))  # turns and stages
NAMES = ("sixteen words", "nine words", "half and half", "half and half, 0.5 % sparse")


def ways(bench: Bench) -> None:
    """Every way for one and four tokens, the shipped way for eight and sixteen; the shipped way without overlap too."""
    if bench.tiny or bench.part is not None:
        bench.row(skipped="the kernel needs a GPU")
        return
    compile_all()
    bandwidth = bench.bandwidth()
    for shape in shapes_of(bench):
        plain = plain_times(bench, shape, (1, 4, 8, 16), bandwidth)
        for name in NAMES:
            ring = ring_of(random_layer(shape, KINDS[name]), only_one=False)
            for count, way, overlapped in tried():
                labels = {"shape": shape, "weights": name, "tokens": count, "way": way, "overlapped": overlapped}
                bench.attempt(partial(row, bench, ring, plain[count], bandwidth, labels), **labels)


def tried() -> Iterator[tuple[int, tuple[int, int] | None, bool]]:
    """Tokens, turns and stages (None: as shipped), and whether kernels may overlap."""
    for count in (1, 4, 8, 16):
        yield count, None, True
        yield count, None, False
        yield from ((count, way, True) for way in WAYS if count < 8)


def row(bench: Bench, ring: list[PackedLayer], plain: Times, bandwidth: float, labels: dict[str, Any]) -> None:
    """One row."""
    x = tokens_of(labels["tokens"], labels["shape"][1], torch.bfloat16)
    with chosen(labels["way"], labels["overlapped"]):
        for layer in ring:
            layer.launches.clear()
        time = bench.times([partial(launch.linear, x, layer) for layer in ring], repeats=9)
    bench.row(**labels, **against(time, plain, ring[0].bytes, bandwidth))


def compile_all() -> None:
    """Compile all kinds of kernels at once, into the folder of caches."""
    import cuda.core.utils  # noqa: F401 - its first import must not be in several threads

    architecture = f"sm_{''.join(map(str, torch.cuda.get_device_capability()))}"
    kinds = []
    for name in NAMES:
        sizes, sparse = [len(book) for book in KINDS[name].books], int(KINDS[name].sparse > 0)
        books = (min(sizes) <= NINE, max(sizes) > NINE)
        for count in (1, 4, 8):
            for way in (None, *WAYS):
                with chosen(way, True):
                    plan = launch_plan.launch_plan(32, 86, count, "bfloat16", bool(sparse), *launch._device(0))
                kinds.append(launch._defines("bfloat16", plan, books, sparse))
    with ThreadPoolExecutor(14) as threads:
        list(threads.map(partial(programs.machine_code, architecture), dict.fromkeys(kinds)))


@contextmanager
def chosen(way: tuple[int, int] | None, overlapped: bool) -> Iterator[None]:
    """Let the plan take a way, for any number of blocks of columns."""
    kept = launch_plan.WAYS, launch._overlaps
    if way is not None:
        launch_plan.WAYS = {sparse: dict.fromkeys((1, 2, 3), way) for sparse in (False, True)}
    if not overlapped:
        launch._overlaps = lambda _device: False
    forget()
    try:
        yield
    finally:
        launch_plan.WAYS, launch._overlaps = kept
        forget()


def forget() -> None:
    """Let launches be chosen anew."""
    for cached in (launch_plan.launch_plan, launch._way, launch._config):
        cached.cache_clear()
