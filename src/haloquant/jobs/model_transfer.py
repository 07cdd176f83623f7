"""What it costs to send a packed model over a link: its bytes by part, compressed, and as a difference from a base."""

import lzma
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from haloquant.errors import FormatError, InputError
from haloquant.lm.checkpoint.safetensors import ITEM_BYTES, StoredTensor
from haloquant.lm.packed.reader import PackedModel, open_packed, read_layer, stored_bytes
from haloquant.quant.format.differences import byte_bits, code_bits, combine_codes
from haloquant.quant.format.input_masks import MASK_TENSORS
from haloquant.quant.format.packing import OFFSET, SPARSE, sizes_of
from haloquant.records import TileGrid, TileMap
from haloquant.store.atomic_files import read_bounded

PRESET = 6  # of xz; higher ones need much more memory and gain less than 1 % here
CODES = "codes"
MOST_CONFIG_BYTES = 64 << 20
# Parts of a model in the order of sending: classes come first, because the codes' lengths follow from them.
PARTS = ("classes", CODES, "scales", "sparse part", "other tensors", "configuration")
_OF = {
    "weight_tile_class": "classes",
    "weight_shape": "classes",
    "weight_packed": CODES,
    "weight_scale": "scales",
    **dict.fromkeys((OFFSET, *MASK_TENSORS), "scales"),
    **dict.fromkeys(SPARSE, "sparse part"),
}


@dataclass(frozen=True)
class PartSize:
    """The bytes of one part of a model.

    Attributes:
        part: name of the part.
        stored_b: as in the files, in bytes.
        entropy_b: empirical entropy of order 0 (`quant.format.differences`): codes by class, others byte by byte.
        compressed_b: by xz, with bytes of equal significance together.
        changed_entropy_b: as `entropy_b`, given the base; None without a base.
        changed_b: the difference from the base by xz; None without a base.
    """

    part: str
    stored_b: int
    entropy_b: float
    compressed_b: int
    changed_entropy_b: float | None = None
    changed_b: int | None = None


@dataclass(frozen=True)
class Transfer:
    """The cost of sending a model to `clients` clients over one link of `rate_bit_per_s` that they share.

    `seconds` holds the time of each way of sending: stored, compressed and, with a base, changed. `weights` counts the
    packed weights. Everything that was compressed was decompressed again and was the same, byte for byte.
    """

    parts: tuple[PartSize, ...]
    weights: int
    clients: int
    rate_bit_per_s: float
    seconds: Mapping[str, float]

    def total_b(self, way: str) -> float:
        """Return the bytes of all parts: `stored_b`, `compressed_b`, `changed_b`, or an entropy."""
        return float(sum(getattr(part, way) or 0 for part in self.parts))


def measure_transfer(
    folder: Path,
    base: Path | None,
    rate_bit_per_s: float,
    clients: int,
    progress: Callable[[int, int], None] | None = None,
) -> Transfer:
    """Return what it costs to send a packed model to clients, and to those that have a base of equal structure.

    The small files of a folder (tokenizer, generation settings) are not sent, but its config.json is.

    Args:
        folder: Packed model folder.
        base: Packed model folder that the clients have; None for none.
        rate_bit_per_s: Rate of the link in bits per second.
        clients: Number of clients, which are sent the model one after the other.
        progress: Called with the number of parts done and of all parts.

    Raises:
        FormatError: A folder is damaged.
        InputError: The base has other layers, tile sizes or numbers of words.
    """
    model = open_packed(folder)
    known = None if base is None else open_packed(base)
    if known is not None:
        _check_structure(model, known, folder, base)
    parts: list[PartSize] = []
    for done, part in enumerate(PARTS):
        parts.append(_measure_part(model, known, part))
        if progress is not None:
            progress(done + 1, len(PARTS))
    weights = sum(prod(_shape(model, layer)) for layer in model.config.layers)
    made = Transfer(tuple(parts), weights, clients, rate_bit_per_s, {})
    ways = ("stored", "compressed") if known is None else ("stored", "compressed", "changed")
    seconds = {way: 8 * made.total_b(f"{way}_b") * clients / rate_bit_per_s for way in ways}
    return Transfer(tuple(parts), weights, clients, rate_bit_per_s, seconds)


def _check_structure(model: PackedModel, base: PackedModel, folder: Path, known: Path | None) -> None:
    """Refuse a base with other layers, shapes, tile sizes or numbers of words.

    Raises:
        InputError: Something differs.
    """
    new, old = model.config, base.config
    words = [[len(book.values) for book in config.codebooks] for config in (new, old)]
    shapes = [[_shape(each, layer) for layer in each.config.layers] for each in (model, base)]
    for what, same in (
        ("layers", new.layers == old.layers),
        ("tile sizes", (new.tile_out, new.tile_in) == (old.tile_out, old.tile_in)),
        ("numbers of words in the classes", words[0] == words[1]),
        ("shapes of the layers", shapes[0] == shapes[1]),
    ):
        if not same:
            raise InputError(
                f"the base must have the {what} of {folder}, and {known} has others; leave the base out, or "
                "quantize both with the same settings"
            )


def _shape(model: PackedModel, layer: str) -> tuple[int, int]:
    shape = stored_bytes(model.tensors[f"{layer}.weight_shape"]).view("<i4")
    if shape.size < 2:
        raise FormatError(f"weight_shape of {layer} must be two numbers at least, not {shape.size}")
    return int(shape[0]), int(shape[1])


def _tiles(model: PackedModel, layer: str) -> TileMap:
    """Return the classes of a layer's tiles."""
    grid = TileGrid(*_shape(model, layer), model.config.tile_out, model.config.tile_in)
    classes = stored_bytes(model.tensors[f"{layer}.weight_tile_class"])
    return TileMap(layer, grid, classes.reshape(grid.down, grid.across))


def _measure_part(model: PackedModel, base: PackedModel | None, part: str) -> PartSize:
    """Return the sizes of one part, after the check that it can be restored from what is sent."""
    pieces = list(_pieces(model, part))
    entropy_b = _entropy_b(model, None, part, pieces)
    stored_b = sum(data.size for _, data, _ in pieces)
    whole = PartSize(part, stored_b, entropy_b, _sent_b(model, None, part, pieces))
    if base is None:
        return whole
    changed = _entropy_b(model, base, part, pieces)
    return replace(whole, changed_entropy_b=changed, changed_b=_sent_b(model, base, part, pieces))


_Piece = tuple[str, np.ndarray, int]  # name of a tensor, its bytes, bytes of an element


def _pieces(model: PackedModel, part: str) -> Iterator[_Piece]:
    """Yield the tensors of a part, or the configuration."""
    if part == "configuration":
        yield "config.json", _configuration(model), 1
        return
    for name, tensor in sorted(model.tensors.items()):
        if _OF.get(name.rpartition(".")[2], "other tensors") == part:
            yield name, stored_bytes(tensor), _item_bytes(tensor)


def _configuration(model: PackedModel) -> np.ndarray:
    return np.frombuffer(read_bounded(model.folder / "config.json", MOST_CONFIG_BYTES), np.uint8)


def _item_bytes(tensor: StoredTensor) -> int:
    return 1 if tensor.name.endswith(".weight_packed") else ITEM_BYTES[tensor.dtype]


def _entropy_b(model: PackedModel, base: PackedModel | None, part: str, pieces: list[_Piece]) -> float:
    """Return the entropy of a part in bytes, given the base."""
    if part == CODES:
        bits = sum(
            code_bits(read_layer(model, layer), None if base is None else read_layer(base, layer))
            for layer in model.config.layers
        )
    else:
        bits = sum(byte_bits(_difference(model, base, name, data), item) for name, data, item in pieces)
    return bits / 8


def _sent_b(model: PackedModel, base: PackedModel | None, part: str, pieces: list[_Piece]) -> int:
    """Return the bytes of a part as it is sent, after restoring it.

    Raises:
        ValueError: What was restored is not what was sent; a bug.
    """
    planes = [_difference(model, base, name, data).reshape(-1, item).T.ravel() for name, data, item in pieces]
    sent = lzma.compress(np.concatenate([*planes, np.empty(0, np.uint8)]).tobytes(), preset=PRESET)
    received, at = np.frombuffer(lzma.decompress(sent), np.uint8), 0
    for name, data, item in pieces:
        difference = received[at : at + data.size].reshape(item, -1).T.ravel()
        at += data.size
        if not np.array_equal(_difference(model, base, name, difference), data):
            raise ValueError(f"{name} must be the same after it is sent, and is not")
    return len(sent)


def _difference(model: PackedModel, base: PackedModel | None, name: str, data: np.ndarray) -> np.ndarray:
    """Return a tensor's difference from the base; from the difference, the tensor.

    A tensor that the base has in another size is sent whole. The classes of tiles are known when codes are sent.
    """
    if base is None:
        return data
    if name.endswith(".weight_packed"):
        layer, books = name.rpartition(".")[0], model.config.books()
        new, old = (_tiles(each, layer) for each in (model, base))
        return combine_codes(data, stored_bytes(base.tensors[name]), new, old, sizes_of(books))
    if name == "config.json":
        known = _configuration(base)
    elif name in base.tensors:
        known = stored_bytes(base.tensors[name])
    else:
        return data
    return data ^ known if known.size == data.size else data
