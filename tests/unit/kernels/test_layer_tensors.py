"""Tables of words and row pointers that are derived from the stored tensors."""

import numpy as np
import torch

from haloquant.kernels.layer_tensors import packed_layer, word_bytes, word_table
from haloquant.quant.format.packing import ROWS, ROWS_V1, pack
from support.halo_layers import codebooks, random_layer, with_offsets
from support.packed_layers import layer, view


def test_a_table_holds_any_code_of_its_width() -> None:
    """Codes of up to 16 words take four bits, else a byte; the words behind the last are zero."""
    small = word_table(((-8, 0, 8), (1, 2)))
    assert (small.shape, small.dtype) == ((2, 16), np.float32)
    assert small[0].tolist() == [-8, 0, 8] + [0] * 13
    assert word_table((tuple(range(17)), (5,))).shape == (2, 256)


def test_words_as_bytes_are_twos_complement() -> None:
    assert word_bytes(torch.tensor([[-128.0, -1.0, 0.0, 127.0]])).tolist() == [[128, 255, 0, 127]]


def test_counts_of_rows_become_their_starts_as_version_1_stored_them() -> None:
    q = random_layer(8, 16, (4, 8), sparse=0.2)
    tensors = {name: torch.from_numpy(array) for name, array in pack(q).items()}
    values = tuple(tuple(book.values.tolist()) for book in codebooks())
    found = packed_layer(tensors, values, 4, 8)
    assert found.sparse is not None
    counts = np.bincount(q.sparse.rows, minlength=8)
    assert found.sparse.row_ptr.tolist() == [0, *np.cumsum(counts).tolist()]
    first = {name: tensor for name, tensor in tensors.items() if name != ROWS} | {ROWS_V1: found.sparse.row_ptr}
    again = packed_layer(first, values, 4, 8)
    assert again.sparse is not None and torch.equal(again.sparse.row_ptr, found.sparse.row_ptr)


def test_the_bytes_of_a_product_are_those_of_its_stored_tensors() -> None:
    """Codes, a float16 scale per row and tile, a class per tile; in the sparse part rows, columns, values, scales."""
    q, packed = layer((130, 172, 128), "two", 0.05)
    entries = q.sparse.values.size
    dense = packed.packed.numel() + 2 * 130 * 2 + 2 * 2
    sparse = 4 * 131 + 2 * 130 + entries * (packed.sparse.col.element_size() + 1) if packed.sparse else 0
    assert entries > 0 and packed.bytes == dense + sparse
    assert layer((130, 172, 128), "two", 0)[1].bytes == dense
    assert view(with_offsets(q)).bytes == dense + sparse + 2 * 130 * 2


def test_offsets_end_with_the_last_byte_and_sizes_are_on_the_device() -> None:
    packed = layer((37, 41, (7, 11)), "bytes")[1]
    assert packed.offsets[-1] == packed.packed.numel()
    assert packed.counts.tolist() == list(packed.sizes) == [201, 3, 11]
