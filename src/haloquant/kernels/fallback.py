"""Plain torch versions of all kernels, for any device.

They have two purposes. `dispatch` uses them on devices other than the CPU where Triton is missing, and for decoding
weights there. The tests use them as the reference with which every fast kernel is compared, so they are written for
clarity and not for speed.
"""

import torch

from haloquant.kernels.layer_tensors import PackedLayer, PackedSparse
from haloquant.quant.format.bit_layout import DIGITS, NINE

MOST_PRODUCTS = 1 << 26  # products of the sparse part that are held at a time: 256 MiB


def unpack_codes(layer: PackedLayer) -> torch.Tensor:
    """Return the codes, u8 [out, in], decoded tile by tile."""
    grid = layer.grid
    codes = torch.empty(grid.out_features, grid.in_features, dtype=torch.uint8, device=layer.packed.device)
    starts, classes = layer.offsets.tolist(), layer.classes.tolist()
    for d in range(grid.down):
        for a in range(grid.across):
            index = d * grid.across + a
            part = codes[
                d * grid.tile_out : (d + 1) * grid.tile_out, a * grid.tile_in : (a + 1) * grid.tile_in
            ]  # a view into `codes`
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
    for k in range(DIGITS):  # a fraction of 65536; multiplying by 9 moves the next digit above the point
        rest = rest * NINE
        codes[k : fives * DIGITS : DIGITS] = (rest >> 16).to(torch.uint8)
        rest = rest & 65535
    left = rows - fives * DIGITS
    width = -(-cols // 2)
    nibbles = data[fives * cols * 2 :][: left * width].view(left, width)
    codes[rows - left :, 0::2] = nibbles & 15
    codes[rows - left :, 1::2] = nibbles[:, : cols // 2] >> 4


def unpack_values(layer: PackedLayer) -> torch.Tensor:
    """Return the weight values, f32 [out, in]: the word of every code, an integer in the range of int8."""
    grid = layer.grid
    classes = layer.classes.long().repeat_interleave(grid.tile_out, 0).repeat_interleave(grid.tile_in, 1)
    classes = classes[: grid.out_features, : grid.in_features]
    return layer.table[classes, unpack_codes(layer).long()]


def dequantize(layer: PackedLayer) -> torch.Tensor:
    """Return the weights, f32 [out, in], with the sparse part added; equal to `quant.layer.dequantize`."""
    weight = unpack_values(layer) * _scale_of_weights(layer)
    if layer.sparse is not None:
        rows, cols, values = _entries(layer.sparse)
        weight.index_put_((rows, cols), values, accumulate=True)
    return weight


def linear(x: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return x W^T in the type of x, [..., in] -> [..., out], from the dequantized weight matrix."""
    return torch.nn.functional.linear(x, dequantize(layer).to(x.dtype))


def masked_inputs(x: torch.Tensor, norm: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    """Return x with zeros in place of the inputs whose score |x| * norm is not above the threshold; NaN stays.

    Args:
        x: inputs, [..., in].
        norm: norms of the weight's columns, [in].
        threshold: a score; a number, or float32 [1].
    """
    return x.masked_fill(x.abs().to(torch.float32) * norm <= threshold, 0.0)


def round_tokens(tokens: torch.Tensor, steps: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Round tokens to 8 bits or fewer, each by one scale, max |x| / the largest code.

    Args:
        tokens: activations, f32 [tokens, in].
        steps: 1 / the largest code of each token, f32 [tokens]; None is 1 / 127 for all.

    Returns:
        Codes from -127 to 127, int8 [tokens, in], and scales, f32 [tokens]. A token of zeros has the scale 1, and one
        with an infinity or a NaN has codes of 0 and the scale NaN.
    """
    top = tokens.abs().amax(-1)
    scaled = top * (1 / 127) if steps is None else top * steps
    step = torch.where(top > 0, scaled.clamp_min(torch.finfo(torch.float32).tiny), 1.0)
    finite = top.isfinite()
    codes = (tokens / step[:, None]).round().where(finite[:, None], 0.0).to(torch.int8)
    return codes, step.where(finite, torch.nan)


def integer_tile_sums(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the partial sums that leave the array: sums over a tile's inputs of int8 value x int8 activation.

    In a weight-stationary array, a partial sum leaves a tile once per output and is then scaled. The sums are exact
    integers, so they do not depend on the order of addition.

    Args:
        tokens: activations, int8 [tokens, in].
        layer: a packed layer.

    Returns:
        i32 [tokens, out, across].
    """
    grid = layer.grid
    values = unpack_values(layer).to(torch.int32)
    padded = grid.across * grid.tile_in
    values = torch.nn.functional.pad(values, (0, padded - grid.in_features)).view(grid.out_features, grid.across, -1)
    inputs = torch.nn.functional.pad(tokens.to(torch.int32), (0, padded - grid.in_features))
    inputs = inputs.view(tokens.shape[0], grid.across, -1)
    return (inputs[:, None] * values[None]).sum(dim=3, dtype=torch.int32)


def integer_sparse_sums(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the sums of the sparse engine, i32 [tokens, out]: sums over a row of int8 value x int8 activation."""
    grid = layer.grid
    sums = torch.zeros(tokens.shape[0], grid.out_features, dtype=torch.int32, device=tokens.device)
    if layer.sparse is None:
        return sums
    rows, cols, _ = _entries(layer.sparse)
    value = layer.sparse.value.to(torch.int32)
    most = max(1, MOST_PRODUCTS // max(1, value.numel()))  # tokens at a time; the order of integer sums is free
    for some, into in zip(tokens.split(most), sums.split(most), strict=True):
        into.index_add_(1, rows, some[:, cols].to(torch.int32) * value)
    return sums


def integer_linear(tokens: torch.Tensor, token_scale: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Compute the product in the accelerator's arithmetic: tile sums are scaled and added, then the sparse sum.

    y = (((0 + t_0 s_0) + t_1 s_1) + ... + u s_u) * token_scale, where every step is rounded to float32. t are the int32
    sums of the tiles and s their float16 scales; u and s_u are the sum and the scale of the sparse engine.

    Args:
        tokens: activations, int8 [tokens, in].
        token_scale: one scale per token, f32 [tokens].
        layer: a packed layer.

    Returns:
        f32 [tokens, out].
    """
    dense = add_tiles(integer_tile_sums(tokens, layer), layer)
    return add_sparse(dense, tokens, layer) * token_scale[:, None]


def add_tiles(sums: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Scale tile sums, i32 [tokens, out, across], and add them in tile order; every step is rounded to float32."""
    scale = layer.scale.float()
    y = torch.zeros(sums.shape[:2], device=sums.device)
    for a in range(layer.grid.across):
        y = y + sums[:, :, a].float() * scale[:, a]
    return y


def add_sparse(dense: torch.Tensor, tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the dense part [tokens, out] plus the scaled sums of the sparse engine for the int8 tokens."""
    if layer.sparse is None:
        return dense
    return dense + integer_sparse_sums(tokens, layer).float() * layer.sparse.scale.float()


def _scale_of_weights(layer: PackedLayer) -> torch.Tensor:
    return layer.scale.float().repeat_interleave(layer.grid.tile_in, 1)[:, : layer.grid.in_features]


def _entries(sparse: PackedSparse) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    counts = sparse.row_ptr.diff().long()
    rows = torch.repeat_interleave(torch.arange(counts.numel(), device=counts.device), counts)
    return rows, sparse.col.long(), sparse.value.float() * sparse.scale.float()[rows]
