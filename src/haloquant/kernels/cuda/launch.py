"""Launch the decode kernel in CUDA C++: products of one to sixteen tokens with a layer of full tiles of 128 x 128."""

# cuda.core chooses its modules when it is imported, which a type checker does not see:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch

from haloquant.kernels.cuda.launch_plan import MOST_TOKENS, TILE, TYPES, LaunchPlan, launch_plan
from haloquant.kernels.cuda.presence import has_cuda_core
from haloquant.kernels.cuda.programs import kernel
from haloquant.kernels.fallback import add_sparse
from haloquant.kernels.layer_tensors import PackedLayer
from haloquant.quant.format.bit_layout import NINE

LEAST_SHARED_BYTES = 99 << 10  # that a block of threads may have on devices of LEAST_CAPABILITY or later
LEAST_CAPABILITY = (8, 0)  # tensor cores with products of 32 int8
_ADDED_BYTES = 128 * 32 * 4 + 32 * 130 * 2  # shared memory of `add_tiles`
_ADDER = tuple({"TOKENS_TYPE": 3, "BLOCKS": 1, "KW": 1, "STAGES": 1, "NINE": 0, "SIXTEEN": 1, "SPARSE": 0}.items())
_KINDS = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16", torch.int8: "int8"}


def takes(tokens: torch.Tensor, layer: PackedLayer) -> bool:
    """Return whether the kernel can multiply these tokens [tokens, in] with this layer."""
    return (
        0 < tokens.shape[0] <= MOST_TOKENS and tokens.dtype in _KINDS and layer.in_full_tiles and _ready(tokens.device)
    )


def linear(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return x W^T in the type of the tokens, [tokens, in] -> [tokens, out], accumulated in float32."""
    y = torch.empty(tokens.shape[0], layer.grid.out_features, dtype=tokens.dtype, device=tokens.device)
    _decode(tokens, layer, y)
    return y


def integer_tile_sums(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the same as `fallback.integer_tile_sums`: i32 [tokens, out, across] of int8 tokens [tokens, in]."""
    return _sums(tokens, layer).transpose(1, 2)


def integer_linear(tokens: torch.Tensor, token_scale: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the same as `fallback.integer_linear`, bit for bit: f32 [tokens, out] of int8 tokens [tokens, in]."""
    grid, at = layer.grid, tokens.device
    sums = _sums(tokens, layer)
    y = torch.empty(tokens.shape[0], grid.out_features, device=at)
    factor = token_scale.contiguous()
    last = layer.sparse is None  # otherwise the sparse sums are added before the token's scale is applied
    run = kernel(_index(at), "add_tiles", _ADDER, _device(_index(at))[1])
    config = _config((grid.out_features // 32, tokens.shape[0], 1), 512, _ADDED_BYTES, _overlaps(_index(at)))
    _launch(
        at, config, run,
        sums.data_ptr(), layer.scale.data_ptr(), factor.data_ptr() if last else 0, y.data_ptr(),
        grid.out_features, grid.across,
    )  # fmt: skip
    return y if last else add_sparse(y, tokens, layer) * token_scale[:, None]


def _sums(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the int32 sums of tiles, [tokens, across, out]."""
    grid = layer.grid
    sums = torch.empty(tokens.shape[0], grid.across, grid.out_features, dtype=torch.int32, device=tokens.device)
    _decode(tokens, layer, sums)
    return sums


@dataclass(frozen=True)
class _Launch:
    """What a launch needs of a layer, a number of tokens and their type: it is the same for every token generated."""

    kernel: Any
    config: Any
    stored: tuple[int, ...]  # addresses of the stored tensors
    sizes: tuple[int, ...]
    splits: int
    arrived: torch.Tensor | None  # counters of the blocks that have ended; zeros between launches


def _decode(tokens: torch.Tensor, layer: PackedLayer, y: torch.Tensor) -> None:
    """Launch the kernel of the tokens' type."""
    given = tokens.contiguous()
    address = given.data_ptr()
    if address % 16:
        given = given.clone()
        address = given.data_ptr()
    key = (tokens.shape[0], tokens.dtype)
    ready = layer.launches.get(key)
    if ready is None:
        ready = layer.launches[key] = _launch_of(layer, tokens.shape[0], _KINDS[tokens.dtype], tokens.device)
    parts = arrived = 0  # not read where a row of tiles is not split
    if ready.arrived is not None:
        buffer = torch.empty(ready.splits, *y.shape, device=y.device)
        parts, arrived = buffer.data_ptr(), ready.arrived.data_ptr()
    _launch(
        tokens.device, ready.config, ready.kernel,
        address, *ready.stored, y.data_ptr(), parts, arrived, *ready.sizes,
    )  # fmt: skip


def _launch_of(layer: PackedLayer, count: int, kind: str, at: torch.device) -> _Launch:
    """Return the launch of a layer for so many tokens."""
    sparse = None if kind == "int8" else layer.sparse
    wide = 0 if sparse is None else 1 if sparse.col.dtype == torch.uint16 else 2
    entries = (0, 0, 0, 0) if sparse is None else (sparse.row_ptr, sparse.col, sparse.value, sparse.scale)
    dense = (layer.packed, layer.scale, layer.classes, layer.offsets, layer.words, layer.counts)
    stored = tuple(one if isinstance(one, int) else one.data_ptr() for one in (*dense, *entries))
    grid = layer.grid
    return _prepared(_index(at), (grid.down, grid.across), layer.sizes, stored, wide, count, kind)


@lru_cache(maxsize=4096)
def _prepared(
    device: int,
    tiles: tuple[int, int],
    sizes: tuple[int, ...],
    stored: tuple[int, ...],
    sparse: int,
    count: int,
    kind: str,
) -> _Launch:
    """Choose the launch and compile the kernel. Inside `torch.compile`, each call makes a new record of the layer."""
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        raise RuntimeError("a packed layer must have run once with as many tokens before a CUDA graph captures it")
    down, across = tiles
    plan = launch_plan(down, across, count, kind, bool(sparse), *_device(device))
    books = (min(sizes) <= NINE, max(sizes) > NINE)
    split = plan.splits > 1 and kind != "int8"
    return _Launch(
        kernel(device, "decode", _defines(kind, plan, books, sparse), _device(device)[1]),
        _config((plan.splits, down, plan.groups), plan.threads, plan.shared_bytes, _overlaps(device)),
        stored,
        (down * TILE, across, count, plan.group, plan.chunk, _tile_bytes(sizes), len(sizes)),
        plan.splits,
        _counters(device, down * plan.groups) if split else None,
    )


def _counters(device: int, count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.int32, device=f"cuda:{device}")


def _defines(kind: str, plan: LaunchPlan, books: tuple[bool, bool], sparse: int) -> tuple[tuple[str, int], ...]:
    """Return what `decode.cu` is compiled with."""
    nine, sixteen = books
    values = {"TOKENS_TYPE": TYPES.index(kind), "BLOCKS": plan.blocks, "KW": plan.turns, "STAGES": plan.stages}
    values |= {"NINE": int(nine), "SIXTEEN": int(sixteen), "SPARSE": sparse}
    return tuple(values.items())


def _tile_bytes(sizes: tuple[int, ...]) -> int:
    """Return the bytes of every tile, 0 if they may differ."""
    if len(sizes) != 1:
        return 0
    return 25 * 2 * TILE + 3 * TILE // 2 if sizes[0] <= NINE else TILE * TILE // 2


def _launch(at: torch.device, config: Any, run: Any, *arguments: int) -> None:
    """Launch on torch's current stream."""
    if _index(at) == torch.cuda.current_device():
        _launcher()(_stream(torch.cuda.current_stream(at).cuda_stream), config, run, *arguments)
        return
    with torch.cuda.device(at):
        _launcher()(_stream(torch.cuda.current_stream(at).cuda_stream), config, run, *arguments)


@cache
def _launcher() -> Any:
    from cuda.core import launch

    return launch


@lru_cache(maxsize=1024)
def _config(grid: tuple[int, int, int], threads: int, shared_bytes: int, overlapped: bool) -> Any:
    from cuda.core import LaunchConfig

    return LaunchConfig(grid=grid, block=threads, shmem_size=shared_bytes, programmatic_stream_serialization=overlapped)


@lru_cache(maxsize=64)
def _stream(handle: int) -> Any:
    from cuda.core import Stream

    return Stream.from_handle(handle)


def _index(at: torch.device) -> int:
    return torch.cuda.current_device() if at.index is None else at.index


@lru_cache(maxsize=64)
def _device(device: int) -> tuple[int, int]:
    """Return the number of multiprocessors, and the most shared memory of a block of threads in bytes."""
    known = torch.cuda.get_device_properties(device)
    return known.multi_processor_count, getattr(known, "shared_memory_per_block_optin", LEAST_SHARED_BYTES)


@lru_cache(maxsize=64)
def _overlaps(device: int) -> bool:
    """Return whether a kernel may begin before the one before it has ended (capability 9.0)."""
    return torch.cuda.get_device_capability(device) >= (9, 0)


@lru_cache(maxsize=64)
def _ready(device: torch.device) -> bool:
    """Return whether the kernel runs on a device."""
    if device.type != "cuda" or torch.version.cuda is None or not has_cuda_core():
        return False
    return torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY
