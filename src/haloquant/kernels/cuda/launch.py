"""Launch the decode kernel in CUDA C++: products of one to sixteen tokens with a layer of full tiles of 128 x 128."""

# cuda.core chooses its modules when it is imported, which a type checker does not see:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

import warnings
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
    """Return x W^T in the type of the tokens, [tokens, in] -> [tokens, out], accumulated in float32.

    Raises:
        ValueError: The tokens are integers, whose products are those of `integer_linear`.
    """
    if not tokens.is_floating_point():
        raise ValueError(f"tokens must be of a float type, not {tokens.dtype}")
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
    y = torch.empty(tokens.shape[0], grid.out_features, dtype=torch.float32, device=at)
    factor = token_scale.contiguous()
    last = layer.sparse is None  # otherwise the sparse sums are added before the token's scale is applied
    config = _config((grid.out_features // 32, tokens.shape[0], 1), 512, _ADDED_BYTES, _overlaps(_index(at)))
    _launch(
        at, config, kernel(_index(at), "add_tiles", _ADDER, _device(_index(at))[1]),
        sums.data_ptr(), layer.scale.data_ptr(), factor.data_ptr() if last else 0, y.data_ptr(),
        grid.out_features, grid.across,
    )  # fmt: skip
    return y if last else add_sparse(y, tokens, layer) * token_scale[:, None]


def _sums(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the int32 sums of tiles, [tokens, across, out]."""
    if tokens.dtype != torch.int8:
        raise ValueError(f"tokens must be int8, not {tokens.dtype}")
    grid = layer.grid
    sums = torch.empty(tokens.shape[0], grid.across, grid.out_features, dtype=torch.int32, device=tokens.device)
    _decode(tokens, layer, sums)
    return sums


@dataclass(frozen=True)
class _Way:
    """The kernels and their launches for layers of one shape, a number of tokens and their type."""

    decode: Any
    alone: Any  # a launch that waits for all work before it
    overlapped: Any  # one that may read its weights while the kernel before it ends
    sizes: tuple[int, ...]
    splits: int
    add: Any  # the kernel that adds the splits; None if there is one split
    add_config: Any  # its launch


def _decode(tokens: torch.Tensor, layer: PackedLayer, y: torch.Tensor) -> None:
    """Launch the kernel of the tokens' type."""
    given = tokens.contiguous()
    if given.data_ptr() % 16:
        given = given.clone()
    at, key = tokens.device, (tokens.shape[0], tokens.dtype)
    known = layer.launches.get(key)
    if known is None:
        known = layer.launches[key] = (_way_of(layer, *key, _index(at)), _addresses(layer, tokens.dtype))
        config = known[0].alone  # what has just written the weights must have ended
    else:
        config = known[0].overlapped
    way, stored = known
    parts = None
    if way.add is not None:
        parts = torch.empty(way.splits, *y.shape, dtype=torch.float32, device=at)
    _launch(
        at, config, way.decode,
        given.data_ptr(), *stored, y.data_ptr(), 0 if parts is None else parts.data_ptr(), *way.sizes,
    )  # fmt: skip
    if parts is not None:
        _launch(at, way.add_config, way.add, parts.data_ptr(), y.data_ptr(), way.splits, y.numel())


def _addresses(layer: PackedLayer, dtype: torch.dtype) -> tuple[int, ...]:
    """Return where the stored tensors are, in the order of the kernel's arguments; 0 for a part that is not used."""
    sparse = None if dtype == torch.int8 else layer.sparse
    dense = (layer.packed, layer.scale, layer.classes, layer.offsets, layer.words, layer.counts)
    entries = () if sparse is None else (sparse.row_ptr, sparse.col, sparse.value, sparse.scale)
    return (*(tensor.data_ptr() for tensor in (*dense, *entries)), *(0 for _ in range(4 - len(entries))))


def _way_of(layer: PackedLayer, count: int, dtype: torch.dtype, device: int) -> _Way:
    sparse = None if dtype == torch.int8 else layer.sparse
    wide = 0 if sparse is None else 1 if sparse.col.dtype == torch.uint16 else 2
    return _way(device, (layer.grid.down, layer.grid.across), layer.sizes, wide, count, _KINDS[dtype])


@lru_cache(maxsize=4096)
def _way(device: int, tiles: tuple[int, int], sizes: tuple[int, ...], sparse: int, count: int, kind: str) -> _Way:
    """Choose the launch and compile the kernels."""
    _refuse_to_compile_in_a_graph()
    down, across = tiles
    plan = launch_plan(down, across, count, kind, bool(sparse), *_device(device))
    defines = _defines(kind, plan, (min(sizes) <= NINE, max(sizes) > NINE), sparse)
    shape = ((plan.splits, down, plan.groups), plan.threads, plan.shared_bytes)
    split, most = plan.splits > 1 and kind != "int8", _device(device)[1]
    return _Way(
        kernel(device, "decode", defines, most),
        _config(*shape, False),
        _config(*shape, _overlaps(device)),
        (down * TILE, across, count, plan.group, plan.chunk, _tile_bytes(sizes), len(sizes)),
        plan.splits,
        kernel(device, "add_splits", defines, most) if split else None,
        _config((count * down, 1, 1), TILE, 0, _overlaps(device)),
    )


def _refuse_to_compile_in_a_graph() -> None:
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "a packed layer of this shape must have run once with as many tokens before a CUDA graph captures it"
        )


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
    """Return whether the kernels can be compiled and launched on a device. If not, a warning says why, once."""
    if device.type != "cuda" or torch.version.cuda is None or not has_cuda_core():
        return False
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return False
    _refuse_to_compile_in_a_graph()
    try:
        kernel(_index(device), "add_tiles", _ADDER, _device(_index(device))[1])
        _config((1, 1, 1), 32, 0, True)
    except Exception as error:  # an old release, no compiler, or one for another CUDA: each raises something else
        warnings.warn(
            f"packed layers use the Triton kernels, since cuda-core cannot compile for {device}: {error}", stacklevel=2
        )
        return False
    return True
