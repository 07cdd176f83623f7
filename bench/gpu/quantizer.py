"""Measure in plain torch the operations of a quantizer on a GPU: products, Cholesky, copies, Hessians, GPTQ's loop."""

from collections.abc import Callable
from functools import partial

import torch
from tools import DEVICE, GPU, SIXTEEN, Bench, synchronize


def rates(bench: Bench) -> None:
    """All of them; each case on its own."""
    library = str(torch.backends.cuda.preferred_linalg_library()) if GPU else "none"
    bench.row(linear_algebra=library, tf32=torch.backends.cuda.matmul.allow_tf32)
    for case in (columns, cholesky, gemm, sums, copies):
        case(bench)


def once(bench: Bench, run: Callable[[], object], repeats: int = 5) -> dict[str, float]:
    """Times of a run that stands alone, in microseconds."""
    return bench.times([run], repeats=repeats, graph=False).row


def gemm(bench: Bench) -> None:
    """Square products."""
    for size in (64,) if bench.tiny else (4096, 8192):
        for name in ("float32", "float32 as tf32", "bfloat16", "float64"):

            def run(size: int = size, name: str = name) -> None:
                a, b = (torch.randn(size, size, device=DEVICE).to(getattr(torch, name.split()[0])) for _ in range(2))
                with tf32("tf32" in name):
                    row = once(bench, partial(torch.mm, a, b))
                bench.row(what="product", size=size, numbers=name, **row, tera_per_s=2 * size**3 / row["us"] / 1e6)

            bench.attempt(run, what="product", size=size, numbers=name)


class tf32:
    """Let float32 products run as tf32 for a while."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __enter__(self) -> None:
        self.kept = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = self.on

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32 = self.kept


def definite(size: int, dtype: torch.dtype) -> torch.Tensor:
    """A positive definite matrix, as the inputs of a layer give it."""
    x = torch.randn(2 * size, size, device=DEVICE, dtype=torch.float32)
    h = (x.T @ x / (2 * size)).to(dtype)
    h.diagonal().add_(0.01)
    return h


def cholesky(bench: Bench) -> None:
    """The factor alone, and GPTQ's chain: factor, inverse, upper factor of the inverse."""
    for size in (64,) if bench.tiny else (4096, 11008):
        for dtype in (torch.float32, torch.float64):

            def run(size: int = size, dtype: torch.dtype = dtype) -> None:
                h = definite(size, dtype)
                labels = {"size": size, "numbers": str(dtype)[6:]}
                row = once(bench, partial(torch.linalg.cholesky, h), 3)
                bench.row(what="cholesky", **labels, **row, tera_per_s=size**3 / 3 / row["us"] / 1e6)
                bench.row(what="cholesky, inverse, cholesky", **labels, **once(bench, partial(inverse_factor, h), 3))

            bench.attempt(run, what="cholesky", size=size, numbers=str(dtype)[6:])


def inverse_factor(h: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor of the inverse."""
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)


def copies(bench: Bench) -> None:
    """Between the host and the device, from pinned and from plain memory."""
    size = 1 << (16 if bench.tiny else 29)
    device = torch.empty(size, dtype=torch.uint8, device=DEVICE)
    for pinned in (True, False):

        def run(pinned: bool = pinned) -> None:
            host = torch.empty(size, dtype=torch.uint8, pin_memory=pinned and GPU).fill_(1)
            for what, target, source in (("to the device", device, host), ("to the host", host, device)):
                row = once(bench, partial(target.copy_, source, non_blocking=True))
                bench.row(what=f"copy {what}", pinned=pinned, **row, bytes_per_s=1e6 * size / row["us"])

        bench.attempt(run, what="copy", pinned=pinned)


def sums(bench: Bench) -> None:
    """H += X^T X of chunks of 2048 tokens, bfloat16 inputs."""
    tokens = 16 if bench.tiny else 2048
    for width in (64,) if bench.tiny else (4096, 11008):
        x = torch.randn(tokens, width, device=DEVICE).bfloat16()
        h = torch.zeros(width, width, device=DEVICE)
        ways: dict[str, Callable[[], object]] = {
            "float32": lambda x=x, h=h: h.addmm_(x.float().T, x.float()),
            "float32 as tf32": lambda x=x, h=h: h.addmm_(x.float().T, x.float()),
            "bfloat16, sums in float32": lambda x=x, h=h: h.add_(torch.mm(x.T, x, out_dtype=torch.float32)),
            "float64": lambda x=x, h=h: x.double().T @ x.double(),
        }
        for name, way in ways.items():

            def run(width: int = width, name: str = name, way: Callable[[], object] = way) -> None:
                with tf32("tf32" in name):
                    row = once(bench, way)
                rate = {"chunks_per_s": 1e6 / row["us"], "tera_per_s": 2 * tokens * width**2 / row["us"] / 1e6}
                bench.row(what="sum of inputs", width=width, tokens=tokens, numbers=name, **row, **rate)

            bench.attempt(run, what="sum of inputs", width=width, numbers=name)


def columns(bench: Bench) -> None:
    """Compensated rounding of one layer, column by column in blocks of 128: launched by Python, and from a graph."""
    out, width, block = (16, 64, 32) if bench.tiny else (4096, 11008, 128)
    weight = torch.randn(out, width, device=DEVICE)
    upper = inverse_factor(definite(width, torch.float32))
    scale = weight.view(out, -1, block).abs().amax(2) / max(SIXTEEN)
    words = torch.tensor(sorted(SIXTEEN), dtype=torch.float32, device=DEVICE)
    middle = (words[1:] + words[:-1]) / 2
    shape = {"what": "compensated rounding", "shape": (out, width), "block": block}

    def block_of(w: torch.Tensor, u: torch.Tensor, s: torch.Tensor, errors: torch.Tensor) -> None:
        """Round the columns of one block, in place."""
        for i in range(block):
            column = w[:, i]
            rounded = words[torch.bucketize(column / s, middle)] * s
            errors[:, i] = (column - rounded) / u[i, i]
            w[:, i + 1 :].addr_(errors[:, i], u[i, i + 1 :], alpha=-1)
            w[:, i] = rounded

    def layer(call: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], None]) -> torch.Tensor:
        w = weight.clone()
        errors = torch.empty(out, block, device=DEVICE)
        for a, first in enumerate(range(0, width, block)):
            last = first + block
            call(w[:, first:last], upper[first:last, first:last], scale[:, a], errors)
            w[:, last:].addmm_(errors, upper[first:last, last:], alpha=-1)
        return w

    def python() -> None:
        bench.row(**shape, launched="by Python", **once(bench, partial(layer, block_of), 2))

    def graph() -> None:
        if not GPU:
            return
        w, u = torch.randn(out, block, device=DEVICE), torch.eye(block, device=DEVICE)
        s, errors = torch.ones(out, device=DEVICE), torch.empty(out, block, device=DEVICE)
        block_of(w, u, s, errors)
        synchronize()
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            block_of(w, u, s, errors)

        def call(own: torch.Tensor, factor: torch.Tensor, scales: torch.Tensor, found: torch.Tensor) -> None:
            w.copy_(own)
            u.copy_(factor)
            s.copy_(scales)
            recorded.replay()
            own.copy_(w)
            found.copy_(errors)

        same = torch.equal(layer(call), layer(block_of))
        bench.row(**shape, launched="a graph per block", same=same, **once(bench, partial(layer, call), 3))
        bench.row(what="columns of one block in a graph", **bench.times([recorded.replay], graph=False).row)

    bench.attempt(python, **shape)
    bench.attempt(graph, **shape)
