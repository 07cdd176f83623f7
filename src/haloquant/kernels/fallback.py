"""The slow, obvious twins in torch, on any device: every fast kernel is tested against these."""

import torch

from haloquant.kernels.layer_tensors import PackedLayer, PackedSparse
from haloquant.quant.format.bit_layout import DIGITS, NINE

MOST_PRODUCTS = 1 << 26  # of the sparse part, held at a time: 256 MiB


def unpack_codes(layer: PackedLayer) -> torch.Tensor:
    """Codes u8 [out, in], tile by tile."""
    grid = layer.grid
    codes = torch.empty(grid.out_features, grid.in_features, dtype=torch.uint8, device=layer.packed.device)
    starts, classes = layer.offsets.tolist(), layer.classes.tolist()
    for d in range(grid.down):
        for a in range(grid.across):
            index = d * grid.across + a
            part = codes[
                d * grid.tile_out : (d + 1) * grid.tile_out, a * grid.tile_in : (a + 1) * grid.tile_in
            ]  # a view: what is written here is written there
            _unpack_tile(layer.packed[starts[index] : starts[index + 1]], part, layer.sizes[classes[d][a]])
    return codes


def _unpack_tile(data: torch.Tensor, codes: torch.Tensor, size: int) -> None:
    rows, cols = codes.shape
    if size > 16:
        codes.copy_(data[: rows * cols].view(rows, cols))
        return
    fives = rows // DIGITS if size <= NINE else 0
    pairs = data[: fives * cols * 2].view(fives, cols, 2).to(torch.int32)
    rest = pairs[..., 0] + 256 * pairs[..., 1]
    for k in range(DIGITS):  # the word is a fraction of 65536: multiplying by 9 pushes the next digit above the point
        rest = rest * NINE
        codes[k : fives * DIGITS : DIGITS] = (rest >> 16).to(torch.uint8)
        rest = rest & 65535
    left = rows - fives * DIGITS
    width = -(-cols // 2)
    nibbles = data[fives * cols * 2 :][: left * width].view(left, width)
    codes[rows - left :, 0::2] = nibbles & 15
    codes[rows - left :, 1::2] = nibbles[:, : cols // 2] >> 4


def unpack_values(layer: PackedLayer) -> torch.Tensor:
    """Weight values f32 [out, in]: the word of every code, an integer of int8."""
    grid = layer.grid
    classes = layer.classes.long().repeat_interleave(grid.tile_out, 0).repeat_interleave(grid.tile_in, 1)
    classes = classes[: grid.out_features, : grid.in_features]
    return layer.table[classes, unpack_codes(layer).long()]


def dequantize(layer: PackedLayer) -> torch.Tensor:
    """Weights f32 [out, in], sparse part added: the meaning of the format, as `quant.weight.dequantize`."""
    weight = unpack_values(layer) * _spread(layer)
    if layer.sparse is not None:
        rows, cols, values = _entries(layer.sparse)
        weight.index_put_((rows, cols), values, accumulate=True)
    return weight


def linear(x: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Y = x W^T in the type of x, [..., in] -> [..., out], by way of the whole weight matrix."""
    return torch.nn.functional.linear(x, dequantize(layer).to(x.dtype))


def quantize_activations(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [tokens, in] as int8 with one f32 scale per token: round(127 x / max|x|), ties to even.

    A token of zeros gets scale 0.
    """
    largest = x.float().abs().amax(dim=1)
    scale = largest / 127
    steps = torch.where(largest > 0, 127 / largest, torch.zeros_like(largest))
    return torch.round(x.float() * steps[:, None]).clamp(-127, 127).to(torch.int8), scale


def integer_tile_sums(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """What leaves the array: i32 [tokens, out, across], the sum over a tile's inputs of int8 value x int8 activation.

    In a weight-stationary array a partial sum leaves a tile once per output column, to be scaled. No rounding happens
    here, so every order of addition gives these numbers.
    """
    grid = layer.grid
    values = unpack_values(layer).to(torch.int32)
    padded = grid.across * grid.tile_in
    values = torch.nn.functional.pad(values, (0, padded - grid.in_features)).view(grid.out_features, grid.across, -1)
    inputs = torch.nn.functional.pad(tokens.to(torch.int32), (0, padded - grid.in_features))
    inputs = inputs.view(tokens.shape[0], grid.across, -1)
    return (inputs[:, None] * values[None]).sum(dim=3, dtype=torch.int32)


def integer_sparse_sums(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """What leaves the sparse engine: i32 [tokens, out], the sum over a row of int8 value x int8 activation."""
    grid = layer.grid
    sums = torch.zeros(tokens.shape[0], grid.out_features, dtype=torch.int32, device=tokens.device)
    if layer.sparse is None:
        return sums
    rows, cols, _ = _entries(layer.sparse)
    value = layer.sparse.value.to(torch.int32)
    most = max(1, MOST_PRODUCTS // max(1, value.numel()))  # tokens at a time; whole numbers add up alike in any order
    for some, into in zip(tokens.split(most), sums.split(most), strict=True):
        into.index_add_(1, rows, some[:, cols].to(torch.int32) * value)
    return sums


def integer_linear(tokens: torch.Tensor, token_scale: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """The accelerator's arithmetic, f32 [tokens, out]: tile sums scaled and added tile by tile, then the sparse sum.

    y = (((0 + t_0 s_0) + t_1 s_1) + ... + u s_u) * token_scale, every step rounded to float32, with t the int32 sums of
    the tiles, s their float16 scales, u and s_u those of the sparse engine.
    """
    dense = add_tiles(integer_tile_sums(tokens, layer), layer)
    return add_sparse(dense, tokens, layer) * token_scale[:, None]


def add_tiles(sums: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Tile sums i32 [tokens, out, across] scaled and added in the order of the tiles, each step rounded to float32."""
    scale = layer.scale.float()
    y = torch.zeros(sums.shape[:2], device=sums.device)
    for a in range(layer.grid.across):
        y = y + sums[:, :, a].float() * scale[:, a]
    return y


def add_sparse(dense: torch.Tensor, tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """The dense part [tokens, out] plus what the sparse engine makes of the int8 tokens."""
    if layer.sparse is None:
        return dense
    return dense + integer_sparse_sums(tokens, layer).float() * layer.sparse.scale.float()


def _spread(layer: PackedLayer) -> torch.Tensor:
    return layer.scale.float().repeat_interleave(layer.grid.tile_in, 1)[:, : layer.grid.in_features]


def _entries(sparse: PackedSparse) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    counts = sparse.row_ptr.diff().long()
    rows = torch.repeat_interleave(torch.arange(counts.numel(), device=counts.device), counts)
    return rows, sparse.col.long(), sparse.value.float() * sparse.scale.float()[rows]
