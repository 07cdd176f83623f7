"""Measure other 4-bit kernels for decode and prefill: GemLite, and the int4 kernel of torchao's weight-only path.

The latter is part of torch (aten::_weight_int4pack_mm). Both use groups of 128 inputs with one scale and one zero
point.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from products import plain_times, shapes_of, tokens_of
from tools import DEVICE, RING_BYTES, Bench, Times, against

GROUP = 128


def others(bench: Bench) -> None:
    """Each kernel on each shape."""
    if bench.tiny:
        bench.row(skipped="these kernels need a GPU")
        return
    bandwidth = bench.bandwidth()
    counts = (1, 4, 16)
    for shape in shapes_of(bench):
        plain = plain_times(bench, shape, (*counts, 2048), bandwidth)
        for name, make in (("torch int4 (tinygemm)", tinygemm), ("GemLite 4 bit", gemlite)):
            action = partial(one, bench, name, make, shape, counts, plain, bandwidth)
            bench.attempt(action, shape=shape, weights=name)


def one(
    bench: Bench,
    name: str,
    make: Callable[[tuple[int, int]], tuple[Callable[[torch.Tensor], torch.Tensor], int, torch.Tensor]],
    shape: tuple[int, int],
    counts: tuple[int, ...],
    plain: dict[int, Times],
    bandwidth: float,
) -> None:
    """All rows of one kernel and shape."""
    first, stored, weight = make(shape)
    ring = [first]
    if bench.part is None:
        ring += [make(shape)[0] for _ in range(max(1, -(-RING_BYTES // stored) - 1))]
    for count in counts if shape != shapes_of(bench)[0] else (*counts, 2048):
        x = tokens_of(count, shape[1], torch.bfloat16)

        def row(x: torch.Tensor = x, count: int = count) -> None:
            many = count > max(counts)
            runs = [partial(call, x) for call in ring]
            time = bench.times(runs[:1] if many else runs, least=1 if many else 20)
            if bench.part is not None:
                return
            exact = x.float() @ weight.float().T
            error = ((first(x).float() - exact).norm() / exact.norm()).item()
            row = against(time, plain[count], stored, bandwidth)
            bench.row(shape=shape, weights=name, tokens=count, inputs="bfloat16", norm=error, **row)

        bench.attempt(row, shape=shape, weights=name, tokens=count)


def random_groups(shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes below 16 [out, in], and weights = (code - 8) * scale with a scale per group [out, groups]."""
    codes = torch.randint(0, 16, shape, dtype=torch.uint8, device=DEVICE)
    scale = (0.002 + 0.002 * torch.rand(shape[0], shape[1] // GROUP, device=DEVICE)).bfloat16()
    weight = (codes.bfloat16() - 8) * scale.repeat_interleave(GROUP, 1)
    return codes, scale, weight


def tinygemm(shape: tuple[int, int]) -> tuple[Callable[[torch.Tensor], torch.Tensor], int, torch.Tensor]:
    """A product, the bytes it reads, and its weights."""
    codes, scale, weight = random_groups(shape)
    packed = torch.ops.aten._convert_weight_to_int4pack(codes[:, 0::2] << 4 | codes[:, 1::2], 8)
    both = (
        torch.stack([scale, torch.zeros_like(scale)], dim=2).transpose(0, 1).contiguous()
    )  # the code 8 means the zero

    def call(x: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten._weight_int4pack_mm(x, packed, GROUP, both)

    return call, packed.nbytes + both.nbytes, weight


def gemlite(shape: tuple[int, int]) -> tuple[Callable[[torch.Tensor], torch.Tensor], int, torch.Tensor]:
    """A product, the bytes it reads, and its weights."""
    from gemlite.helper import A16W4_HQQ_INT

    codes, scale, weight = random_groups(shape)
    zeros = torch.full_like(scale, 8)
    made: Any = A16W4_HQQ_INT(device="cuda:0", dtype=torch.bfloat16).from_weights(
        codes, scale.view(-1, 1), zeros.view(-1, 1)
    )
    return made, sum(one.nbytes for one in (made.W_q, made.scales, made.zeros)), weight
