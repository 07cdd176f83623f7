"""One packed layer as the kernels take it: the stored tensors, and tables that are derived from them."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from haloquant.kernels.cpu.column_products import ColumnTiles, by_column, fits
from haloquant.kernels.cuda.launch_plan import MOST_BOOKS, MOST_WORDS, TILE
from haloquant.quant.format.bit_layout import decode, tile_offsets
from haloquant.quant.format.input_masks import THRESHOLD
from haloquant.quant.format.packing import ROWS, ROWS_V1
from haloquant.records import TileGrid


@dataclass(frozen=True)
class PackedSparse:
    """The sparse part as stored, in compressed sparse rows (CSR)."""

    row_ptr: torch.Tensor  # i32 [out + 1]
    col: torch.Tensor  # u16 or i32 [nnz]
    value: torch.Tensor  # i8 [nnz]
    scale: torch.Tensor  # f16 [out]


@dataclass(frozen=True)
class PackedLayer:
    """A packed linear layer on one device. `quant.format.packing` describes the stored tensors."""

    grid: TileGrid
    packed: torch.Tensor  # u8 [bytes]
    scale: torch.Tensor  # f16 [out, across]
    classes: torch.Tensor  # u8 [down, across]
    offsets: torch.Tensor  # i64 [tiles + 1], first byte of each tile
    table: torch.Tensor  # f32 [classes, words], padded with zeros to 16 or 256 words
    words: torch.Tensor  # u8 [classes, words], the words as int8
    sizes: tuple[int, ...]  # words of each codebook
    counts: torch.Tensor  # i32 [classes], `sizes` on the device
    sparse: PackedSparse | None
    exponent: int = 0  # `dispatch` multiplies what the kernels compute by 2^-exponent
    tile_offset: torch.Tensor | None = None  # f16 [out, across]; `dispatch` adds it, the kernels do not know of it
    columns: ColumnTiles | None = None  # the codes once more, column by column, for tokens with many zeros; on the CPU

    @cached_property
    def arrays(self) -> tuple[Any, ...]:
        """The tensors as numpy arrays, without a copy, in the order of the kernels' arguments. On the CPU only."""
        sparse = self.sparse
        if sparse is None:
            empty = np.empty(0, np.uint16)
            parts = (np.empty(0, np.int32), empty, empty, np.empty(0, np.int8), empty)
        else:
            pointers = sparse.row_ptr.numpy()
            places = np.arange(self.grid.out_features) % self.grid.tile_out  # of the rows in their rows of tiles
            kind = np.uint16 if self.grid.tile_out <= 1 << 16 else np.uint32
            row = np.repeat(places.astype(kind), np.diff(pointers))
            parts = (pointers, row, sparse.col.numpy(), sparse.value.numpy(), half_bits(sparse.scale))
        return (
            self.packed.numpy(),
            half_bits(self.scale),
            self.classes.numpy(),
            self.offsets.numpy(),
            self.table.numpy(),
            np.array(self.sizes, np.int64),
            (self.grid.tile_out, self.grid.tile_in),
            parts,
        )

    @cached_property
    def in_full_tiles(self) -> bool:
        """Whether every tile is 128 x 128, in codebooks of up to 16 words, as the kernels in CUDA C++ take it."""
        grid = self.grid
        whole = grid.tile_out == grid.tile_in == TILE and grid.out_features % TILE == grid.in_features % TILE == 0
        aligned = all(tensor.data_ptr() % 16 == 0 for tensor in (self.packed, self.words, self.scale))
        return whole and aligned and len(self.sizes) <= MOST_BOOKS and max(self.sizes) <= MOST_WORDS

    @cached_property
    def launches(self) -> dict[Any, Any]:
        """What `kernels.cuda.launch` has prepared for this layer; empty at first."""
        return {}

    @cached_property
    def records(self) -> dict[str, Any]:
        """What `kernels.cpu.stored_arrays` has prepared for this layer; empty at first."""
        return {}

    @property
    def bytes(self) -> int:
        """Number of stored bytes that a product with this layer reads."""
        tensors = [self.packed, self.scale, self.classes, *([] if self.tile_offset is None else [self.tile_offset])]
        if self.sparse is not None:
            tensors += [self.sparse.row_ptr, self.sparse.col, self.sparse.value, self.sparse.scale]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def half_bits(half: torch.Tensor) -> np.ndarray:
    """Return float16 numbers on the CPU as their bits, without a copy."""
    return half.view(torch.uint16).numpy()


def word_table(values: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Return codebooks as a float32 table [classes, 16 or 256], padded with zeros so that any code is a valid index."""
    width = 16 if max(map(len, values)) <= 16 else 256
    table = np.zeros((len(values), width), np.float32)
    for row, words in zip(table, values, strict=True):
        row[: len(words)] = words
    return table


def word_bytes(table: torch.Tensor) -> torch.Tensor:
    """Return a table of words as int8, in bytes u8 [classes, words]."""
    return table.to(torch.int8).view(torch.uint8)


def _row_pointers(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the start of each row, i32 [out + 1]: running sums of the stored counts. Version 1 stored the sums."""
    if ROWS_V1 in tensors:
        return tensors[ROWS_V1]
    counts = tensors[ROWS].to(torch.int32)
    return torch.nn.functional.pad(counts.cumsum(0, dtype=torch.int32), (1, 0))


def packed_layer(
    tensors: dict[str, torch.Tensor], values: tuple[tuple[int, ...], ...], tile_out: int, tile_in: int
) -> PackedLayer:
    """Make the kernels' form of one layer, on the device of the stored tensors.

    The tensors are not checked here; `quant.format.packing.check_layer` does that. A layer with a mask of inputs gets
    its codes column by column too, where the kernel for them can run.

    Args:
        tensors: the stored tensors, with the names of `quant.format.packing`.
        values: the words of each codebook.
        tile_out: tile size along the outputs.
        tile_in: tile size along the inputs.
    """
    out_features, in_features, *rest = tensors["weight_shape"].tolist()
    grid = TileGrid(out_features, in_features, tile_out, tile_in)
    sizes = tuple(map(len, values))
    classes = tensors["weight_tile_class"]
    device = classes.device
    offsets = tile_offsets(grid, classes.cpu().numpy(), sizes)
    table = torch.from_numpy(word_table(values))
    sparse = None
    if "sparse_value" in tensors:
        names = ("sparse_col", "sparse_value", "sparse_scale")
        sparse = PackedSparse(_row_pointers(tensors), *(tensors[name] for name in names))
    made = PackedLayer(
        grid,
        tensors["weight_packed"],
        tensors["weight_scale"],
        classes,
        torch.from_numpy(offsets).to(device),
        table.to(device),
        word_bytes(table).to(device),
        sizes,
        torch.tensor(sizes, dtype=torch.int32, device=device),
        sparse,
        rest[0] if rest else 0,
        tensors.get("weight_offset"),
    )
    if THRESHOLD not in tensors or device.type != "cpu" or not fits(tile_out, sizes):
        return made
    codes, _ = decode(made.packed.numpy(), classes.numpy(), sizes, grid)
    return replace(made, columns=by_column(codes, made.arrays))
