"""Functions shared by the sections of measure.py: random packed layers, CUDA graph timing, tuner results, result rows.

Without a GPU the same code runs on the CPU, with the Triton kernels in their interpreter. This finds mistakes; the
times mean nothing.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partialmethod
from typing import Any

import numpy as np
import torch
import triton

from haloquant.kernels.layer_tensors import PackedLayer, PackedSparse, packed_layer
from haloquant.kernels.triton import dequantization, gemm, gemv
from haloquant.quant.format.bit_layout import tile_offsets
from haloquant.records import TileGrid

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
RING_BYTES = 256 << 20  # more than a second-level cache holds
KEPT_BYTES = 16 << 30  # above, what torch keeps for later is given back between cases
NINE = (-64, -32, -16, -8, 0, 8, 16, 32, 64)
SIXTEEN = (-127, -96, -64, -48, -32, -16, -8, -4, 0, 4, 8, 16, 32, 48, 64, 96)
KERNELS = {"gemv": gemv.gemv_kernel, "gemm": gemm.gemm_kernel, "dequantize": dequantization.dequantize_kernel}
FATAL = ("illegal", "misaligned", "launch fail", "device-side assert", "hardware", "AcceleratorError")


@dataclass(frozen=True)
class Kind:
    """What a random layer holds: its codebooks, the share of tiles of nine words, the share of sparse weights."""

    books: tuple[tuple[int, ...], ...] = (SIXTEEN, NINE)
    fast_share: float = 0.0
    sparse: float = 0.0


KINDS = {
    "sixteen words": Kind((SIXTEEN,)),
    "nine words": Kind((NINE,)),
    "half and half": Kind(fast_share=0.5),
    "half and half, 0.5 % sparse": Kind(fast_share=0.5, sparse=0.005),
    "sixteen words, of a model of two codebooks": Kind(),
}


@dataclass(frozen=True)
class Times:
    """Seconds of one run: the median, and the 10th and 90th percentile of the repeats."""

    median: float
    low: float
    high: float

    @property
    def row(self) -> dict[str, float]:
        """The same in microseconds, for a row."""
        return {"us": 1e6 * self.median, "us_10": 1e6 * self.low, "us_90": 1e6 * self.high}


def fatal(error: BaseException) -> bool:
    """Return whether every further CUDA call of this process would fail after this error."""
    text = f"{type(error).__name__} {error}"
    return any(word in text for word in FATAL)


class Bench:
    """One process that measures, or one of several that only compile (`part` is its number and how many there are)."""

    def __init__(self, emit: Callable[[dict[str, Any]], None], tiny: bool, part: tuple[int, int] | None = None) -> None:
        self.emit, self.tiny, self.part = emit, tiny, part
        self._turn = 0
        tuner = triton.runtime.autotuner.Autotuner
        tuner.do_bench = staticmethod(_quick)
        if part is not None:
            tuner.run = partialmethod(_compile, self)

    def row(self, **values: Any) -> None:
        """Report one result."""
        if self.part is None:
            self.emit({"row": values})

    def mine(self) -> bool:
        """Return whether this process handles the next case; a process that measures handles every case."""
        self._turn += 1
        return self.part is None or self._turn % self.part[1] == self.part[0]

    def attempt(self, action: Callable[[], None], **labels: Any) -> None:
        """Run one case. Its error becomes a row, unless no further case could run."""
        try:
            action()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"[:600]
            self.emit({"row": {**labels, "error": text}} if self.part is None else {"error": text})
            if fatal(error):
                raise
        if GPU and torch.cuda.memory_reserved() > (KEPT_BYTES if self.part is None else KEPT_BYTES // 16):
            gc.collect()
            torch.cuda.empty_cache()

    def times(
        self, runs: Sequence[Callable[[], object]], repeats: int = 21, least: int = 20, graph: bool = True
    ) -> Times:
        """Return the time of one run. A CUDA graph repeats the runs up to `least`, so launches are not counted."""
        if self.part is not None:
            runs[0]()
            return Times(1.0, 1.0, 1.0)
        for run in runs:
            run()
        synchronize()
        if not GPU:
            return _on_cpu(runs)
        rounds = -(-least // len(runs)) if graph else 1

        def call() -> None:
            for run in runs:
                run()

        if graph:
            recorded = torch.cuda.CUDAGraph()
            with torch.cuda.graph(recorded):
                for _ in range(rounds):
                    for run in runs:
                        run()
            call = recorded.replay
        call()
        found = []
        for _ in range(repeats):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            found.append(start.elapsed_time(end) / 1e3 / (rounds * len(runs)))
        return Times(*(float(value) for value in np.percentile(found, (50, 10, 90))))

    def bandwidth(self) -> float:
        """Bytes a second of a copy within the device, read and written both counted."""
        if self.part is not None:
            return 1.0
        size = 1 << (16 if self.tiny else 30)
        source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=DEVICE)
        target = torch.empty_like(source)
        return 2 * size / self.times([lambda: target.copy_(source)], graph=False).median


def _compile(tuner: Any, bench: Bench, *args: Any, **kwargs: Any) -> None:
    """Replace the tuner: compile and run this process's share of the configurations, and measure none."""
    tuner.nargs = dict(zip(tuner.arg_names, args, strict=False))
    alone = len(tuner.configs) == 1  # then the caller has chosen the share
    for config in tuner.configs if alone else list(tuner.prune_configs(kwargs)):
        if alone or bench.mine():
            try:
                tuner.fn.run(*args, **kwargs, **config.all_kwargs())
            except Exception as error:
                if fatal(error):
                    raise


def _quick(call: Callable[[], object], quantiles: Sequence[float] | None = None) -> Any:
    """The tuner's clock with shorter windows than Triton's own."""
    return triton.testing.do_bench(call, warmup=5, rep=30, quantiles=quantiles)


def _on_cpu(runs: Sequence[Callable[[], object]]) -> Times:
    start = time.perf_counter()
    for run in runs:
        run()
    spent = (time.perf_counter() - start) / len(runs)
    return Times(spent, spent, spent)


def synchronize() -> None:
    """Wait for the device."""
    if GPU:
        torch.cuda.synchronize()


def forget_picks() -> None:
    """Let the tuner measure again: it stores its choices by shape only, but other codebooks may need other choices."""
    for kernel in KERNELS.values():
        kernel.cache.clear()


def picks() -> dict[str, Any]:
    """Return the tuner's choices since `forget_picks`, with the microseconds of every configuration (rows x warps)."""
    found = {}
    for name, kernel in KERNELS.items():
        if kernel.cache:
            best = list(kernel.cache.values())[-1]
            clocks = getattr(kernel, "configs_timings", None) or {}
            ways = {f"{one.kwargs['ROWS']}x{one.num_warps}": 1e3 * clock[0] for one, clock in clocks.items()}
            found[name] = {"rows": best.kwargs["ROWS"], "warps": best.num_warps, "us_of_ways": ways}
    return found


def random_layer(shape: tuple[int, int], kind: Kind, tile: int = 128, seed: int = 0) -> PackedLayer:
    """A layer of random bytes, made on the device: any bytes are valid codes."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator(DEVICE).manual_seed(seed)
    out, width = shape
    grid = TileGrid(out, width, tile, tile)
    classes = (rng.random((grid.down, grid.across)) < kind.fast_share).astype(np.uint8)
    total = int(tile_offsets(grid, classes, tuple(map(len, kind.books)))[-1])

    def whole(low: int, high: int, size: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.randint(low, high, size, dtype=dtype, device=DEVICE, generator=generator)

    scale = torch.randn(out, grid.across, device=DEVICE, generator=generator)
    tensors = {
        "weight_packed": whole(0, 256, (total,), torch.uint8),
        "weight_scale": (1e-3 * scale).half(),
        "weight_tile_class": torch.from_numpy(classes).to(DEVICE),
        "weight_shape": torch.tensor([out, width], dtype=torch.int32),
    }
    count = round(kind.sparse * width)
    if count:
        step = width // count
        cols = step * torch.arange(count, device=DEVICE) + whole(0, step, (out, count), torch.int64)
        tensors["sparse_row_count"] = torch.full((out,), count, dtype=torch.int32, device=DEVICE)
        tensors["sparse_col"] = cols.flatten().cpu().to(torch.uint16).to(DEVICE)
        tensors["sparse_value"] = whole(-127, 128, (out * count,), torch.int8)
        tensors["sparse_scale"] = (1e-4 + 9e-4 * torch.rand(out, device=DEVICE, generator=generator)).half()
    return packed_layer(tensors, kind.books, tile, tile)


def ring_of(layer: PackedLayer, only_one: bool) -> list[PackedLayer]:
    """Copies of a layer, together larger than a second-level cache."""
    copies = 1 if only_one else max(2, -(-RING_BYTES // layer.bytes))
    names = ("packed", "scale", "classes", "offsets", "table", "words", "counts")
    ring = [layer]
    for _ in range(copies - 1):
        own = {name: getattr(layer, name).clone() for name in names}
        sparse = layer.sparse
        if sparse is not None:
            sparse = PackedSparse(
                sparse.row_ptr.clone(), sparse.col.clone(), sparse.value.clone(), sparse.scale.clone()
            )
        ring.append(PackedLayer(layer.grid, sizes=layer.sizes, sparse=sparse, **own))
    return ring


def dense_ring(shape: tuple[int, int], only_one: bool) -> list[torch.Tensor]:
    """Random bfloat16 weights, together larger than a second-level cache."""
    copies = 1 if only_one else max(2, -(-RING_BYTES // (2 * shape[0] * shape[1])))
    return [torch.randn(*shape, dtype=torch.bfloat16, device=DEVICE) * 0.02 for _ in range(copies)]


def against(times: Times, plain: Times | None, stored: int, bandwidth: float) -> dict[str, float]:
    """Figures of one product that reads `stored` bytes."""
    floor = stored / bandwidth
    row = times.row | {"stored_bytes": stored, "bytes_per_s": stored / times.median, "floor_us": 1e6 * floor}
    row["share_of_copy_bandwidth"] = floor / times.median
    if plain is not None:
        row["times_faster_than_bf16"] = plain.median / times.median
    return row
