"""A layer in HALO form as the record that every method returns. The product keeps layers packed instead."""

from haloquant.quant.format.stored_bits import count_bits
from haloquant.quant.layer import dequantize, mac_values
from haloquant.quant.tiles import padding
from haloquant.records import LayerResult, QuantizedWeight


def layer_result(q: QuantizedWeight, notes: tuple[str, ...] = ()) -> LayerResult:
    """Return the layer's weights, stored bits and the integers of the MAC.

    A note on padding is added to `notes` if the tiles have any.
    """
    grid = q.tiles.grid
    empty = padding(grid)
    if empty:
        notes = (*notes, f"{empty} places of {grid.down * grid.across} tiles are padding")
    return LayerResult(q.layer, dequantize(q), count_bits(q), mac_values(q), q, notes)
