"""Time and energy of a generated token with LLaMA-2-7B's shapes: bfloat16, sixteen words, nine words.

The context is one token long, so attention returns that token's value: no attention kernel runs, and the cache of keys
and values is empty. Everything else in a block runs, in bfloat16 around the seven products. The embedding is left out.
The product with the vocabulary is bfloat16 in all three cases.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from products import linear_of
from tools import DEVICE, GPU, KINDS, Bench, forget_picks, picks, random_layer, synchronize
from torch.nn.functional import linear, rms_norm, silu

NAMES = ("torch bfloat16", "sixteen words", "nine words")


@dataclass
class Model:
    """Weights of all blocks, by the name of the layer, and what multiplies with them."""

    blocks: list[dict[str, Any]]
    head: torch.Tensor
    apply: Callable[[torch.Tensor, Any], torch.Tensor]
    product_bytes: int

    def token(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a token from its embedding."""
        width = x.shape[-1:]
        for block in self.blocks:
            h = rms_norm(x, width)
            for name in ("q", "k"):
                self.apply(h, block[name])
            x = x + self.apply(self.apply(h, block["v"]), block["o"])
            h = rms_norm(x, width)
            x = x + self.apply(silu(self.apply(h, block["gate"])) * self.apply(h, block["up"]), block["down"])
        return linear(rms_norm(x, width), self.head)

    def products(self, x: torch.Tensor, wide: torch.Tensor) -> None:
        """The seven products of every block alone."""
        for block in self.blocks:
            for name in ("q", "k", "v", "o", "gate", "up"):
                self.apply(x, block[name])
            self.apply(wide, block["down"])


def sizes(bench: Bench) -> tuple[int, int, int, int]:
    """Width, width within the block, blocks, vocabulary."""
    return (32, 64, 1, 32) if bench.tiny else (4096, 11008, 1 if bench.part else 32, 32000)


def build(bench: Bench, name: str) -> Model:
    """A model of random weights."""
    width, wide, count, vocabulary = sizes(bench)
    shapes = dict.fromkeys("qkvo", (width, width)) | dict.fromkeys(("gate", "up"), (wide, width))
    shapes |= {"down": (width, wide)}
    head = torch.randn(vocabulary, width, device=DEVICE, dtype=torch.bfloat16) * 0.02
    if name == "torch bfloat16":

        def make(shape: tuple[int, int], seed: int) -> torch.Tensor:
            del seed
            return torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16) * 0.02

        blocks = [{layer: make(shape, 0) for layer, shape in shapes.items()} for _ in range(count)]
        stored = sum(weight.nbytes for block in blocks for weight in block.values())
        return Model(blocks, head, linear, stored)
    tile = 32 if bench.tiny else 128
    blocks = [
        {layer: random_layer(shape, KINDS[name], tile, seed=i) for layer, shape in shapes.items()} for i in range(count)
    ]
    return Model(blocks, head, linear_of, sum(one.bytes for block in blocks for one in block.values()))


def inputs(bench: Bench) -> tuple[torch.Tensor, torch.Tensor]:
    """A token's embedding, and a vector of the width within a block."""
    width, wide, _, _ = sizes(bench)
    return tuple(torch.randn(1, n, device=DEVICE, dtype=torch.bfloat16) for n in (width, wide))


def token(bench: Bench) -> None:
    """Time of a token in a CUDA graph, of its products alone, and of a token that Python launches kernel by kernel."""
    bandwidth = bench.bandwidth()
    bench.row(note=__doc__, copy_bytes_per_s=bandwidth, shape=sizes(bench))
    plain: dict[str, float] = {}
    for name in NAMES:
        bench.attempt(partial(token_of, bench, name, bandwidth, plain), weights=name)


def token_of(bench: Bench, name: str, bandwidth: float, plain: dict[str, float]) -> None:
    """The rows of one kind of weights."""
    x, wide = inputs(bench)
    model = build(bench, name)
    forget_picks()
    runs = {
        "products alone, in a graph": (partial(model.products, x, wide), True, model.product_bytes),
        "token, in a graph": (partial(model.token, x), True, model.product_bytes + model.head.nbytes),
        "token, launched by Python": (partial(model.token, x), False, model.product_bytes + model.head.nbytes),
    }
    for what, (run, graph, stored) in runs.items():
        found = bench.times([run], repeats=11, least=1, graph=graph)
        plain.setdefault(what, found.median)
        row = found.row | {"tokens_per_s": 1 / found.median, "stored_bytes": stored}
        row |= {"floor_us": 1e6 * stored / bandwidth, "share_of_copy_bandwidth": stored / bandwidth / found.median}
        bench.row(weights=name, what=what, **row, times_faster_than_bf16=plain[what] / found.median)
    finite = bool(model.token(x).isfinite().all().item())
    bench.row(weights=name, finite=finite, peak_bytes=torch.cuda.max_memory_allocated() if GPU else 0, picks=picks())


@contextmanager
def counter() -> Iterator[Callable[[], dict[str, float]]]:
    """Read the board: joules since the driver started, clock, temperature. Without a GPU joules are 0."""
    if not GPU:
        yield lambda: {"joules": 0.0}
        return
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    with suppress(Exception):
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")

    def read() -> dict[str, float]:
        return {
            "joules": pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3,
            "clock_mhz": pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
            "memory_clock_mhz": pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM),
            "celsius": pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
        }

    try:
        yield read
    finally:
        pynvml.nvmlShutdown()


def energy(bench: Bench) -> None:
    """Energy of a token: windows of some seconds, kinds of weights in turns, and a window in which nothing runs."""
    seconds = 0.1 if bench.tiny else 3.0
    x, _ = inputs(bench)
    calls: dict[str, Callable[[], object]] = {}
    kept = []
    for name in NAMES:

        def make(name: str = name) -> None:
            model = build(bench, name)
            forget_picks()
            model.token(x)
            synchronize()
            call: Callable[[], object] = partial(model.token, x)
            if GPU:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    kept.append(model.token(x))
                call = graph.replay
            kept.append(model)  # a graph knows addresses alone
            calls[name] = call

        bench.attempt(make, weights=name)
    with counter() as read:
        for number in range(2):
            for name, call in [("nothing runs", None), *calls.items()]:
                window(bench, name, number, call, read, seconds)


def window(
    bench: Bench,
    name: str,
    number: int,
    call: Callable[[], object] | None,
    read: Callable[[], dict[str, float]],
    seconds: float,
) -> None:
    """One row: joules and tokens of one window."""
    synchronize()
    if call is None:
        time.sleep(min(1.0, seconds))  # the clocks fall after what ran before
    before, start, done = read(), time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        if call is None:
            time.sleep(seconds / 10)
            continue
        for _ in range(1 if bench.tiny else 20):
            call()
            done += 1
        synchronize()
    spent, after = time.perf_counter() - start, read()
    joules = after["joules"] - before["joules"]
    row: dict[str, Any] = {
        "weights": name,
        "window": number,
        "seconds": spent,
        "watts": joules / spent,
        "at_end": after,
    }
    if done:
        row |= {"tokens": done, "us": 1e6 * spent / done, "joules_per_token": joules / done}
    bench.row(**row)
