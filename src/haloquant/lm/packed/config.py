"""The `quantization_config` of a packed model: reading, checking, and the digest over it and all tensors."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
import xxhash

from haloquant.errors import FormatError, HaloquantError
from haloquant.quant.format.input_masks import MASK_TENSORS
from haloquant.quant.format.packing import OFFSET
from haloquant.quant.input_checks import check_codebook
from haloquant.records import Codebook, OperatingPoint
from haloquant.records.mixed_activations import MixedActivations

METHOD = "halo"
# Version 1 stores running sums of the sparse weights per row, and its digest uses the SHA-256 of each tensor. Version 3
# can hold offsets, version 4 masks of inputs too, and version 5 the bits of rounded inputs by token. A model has the
# least version, 2 or more, that it needs.
OLDEST, VERSION, WITH_OFFSETS, WITH_MASKS, WITH_ACTIVATIONS = 1, 2, 3, 4, 5
LARGEST_TILE = 1 << 16


class Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One codebook in the configuration."""

    name: str
    values: tuple[int, ...]
    voltage_v: float
    frequency_hz: float
    slack_s: float


class PackedConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `quantization_config` of a packed model."""

    quant_method: str
    version: int
    tile_out: int
    tile_in: int
    codebooks: tuple[Book, ...]
    layers: tuple[str, ...]  # names of the packed modules
    profile_name: str
    profile_sha256: str
    bits_per_weight: float  # stored bits of the packed layers, everything counted
    sha256: str = ""  # digest over all other fields and every tensor
    # Left out of the JSON of a model without them, so that the digests of older models stay.
    activations: MixedActivations | msgspec.UnsetType = msgspec.UNSET

    def books(self) -> tuple[Codebook, ...]:
        """Return the codebooks as records.

        Raises:
            FormatError: One of them is not ascending, lacks 0, or does not fit int8.
        """
        return tuple(_codebook(book) for book in self.codebooks)

    def stored_activations(self) -> MixedActivations | None:
        """Return how inputs are rounded token by token, if the model says so."""
        return None if isinstance(self.activations, msgspec.UnsetType) else self.activations

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for a JSON file."""
        return msgspec.to_builtins(self)


def make_config(
    codebooks: tuple[Codebook, ...],
    tile_out: int,
    tile_in: int,
    layers: tuple[str, ...],
    profile: tuple[str, str],
    bits_per_weight: float,
    version: int = VERSION,
) -> PackedConfig:
    """Return the configuration of a new model, without digest. `profile` is the name and SHA-256 of the MAC profile."""
    books = tuple(
        Book(
            book.name,
            tuple(int(value) for value in book.values),
            float(book.point.voltage_v),
            float(book.point.frequency_hz),
            float(book.slack_s),
        )
        for book in codebooks
    )
    return PackedConfig(METHOD, version, tile_out, tile_in, books, layers, *profile, bits_per_weight)


def needed_version(tensors: Iterable[str], activations: bool = False) -> int:
    """Return the least version of the format, 2 or more, that has the tensors of these names.

    `activations` says whether the model holds bits of rounded inputs by token.
    """
    if activations:
        return WITH_ACTIVATIONS
    parts = {name.rpartition(".")[2] for name in tensors}
    return WITH_MASKS if parts & set(MASK_TENSORS) else WITH_OFFSETS if OFFSET in parts else VERSION


def parse_config(raw: object) -> PackedConfig:
    """Check a `quantization_config` that was read from JSON, and convert it.

    Raises:
        FormatError: It is of another method or version, or malformed.
    """
    if not isinstance(raw, Mapping) or raw.get("quant_method") != METHOD:
        given = raw.get("quant_method") if isinstance(raw, Mapping) else raw
        raise FormatError(f"quant_method of a packed HALO model must be '{METHOD}', not {given!r}")
    version = raw.get("version")
    if type(version) is not int or not OLDEST <= version <= WITH_ACTIVATIONS:
        advice = "it is damaged"
        if type(version) is int:
            advice = "install a newer haloquant" if version > WITH_ACTIVATIONS else "quantize the model again"
        raise FormatError(
            f"a packed model must be of format version {OLDEST} to {WITH_ACTIVATIONS}, not {version!r}: {advice}"
        )
    try:
        config = msgspec.convert(dict(raw), PackedConfig)
    except msgspec.ValidationError as error:
        raise FormatError(f"quantization_config must be what version {version} says, but: {error}") from error
    if not (1 <= config.tile_out <= LARGEST_TILE and 1 <= config.tile_in <= LARGEST_TILE):
        raise FormatError(f"tile sizes must be between 1 and {LARGEST_TILE}, not {config.tile_out} x {config.tile_in}")
    if not config.codebooks:
        raise FormatError("a packed model needs at least one codebook")
    if len(set(config.layers)) != len(config.layers) or not config.layers:
        raise FormatError("layers of a packed model must be at least one name, each once")
    config.books()
    _check_activations(config)
    return config


def _check_activations(config: PackedConfig) -> None:
    found = config.stored_activations()
    if found is None:
        return
    if config.version < WITH_ACTIVATIONS:
        raise FormatError(
            f"a model with activations must be of format version {WITH_ACTIVATIONS}, not {config.version}"
        )
    sound = 2 <= found.low_bits <= found.bits <= 8 and 0 <= found.low_share <= 1 and found.tokens > 0
    if not (sound and found.thresholds and np.isfinite(found.thresholds).all()):
        raise FormatError(
            "activations of a packed model must be of 2 to 8 bits, the low ones of as many at most, with a share of 0 "
            f"to 1, a sample of tokens and finite thresholds, not {found}"
        )


def _codebook(book: Book) -> Codebook:
    if any(not -128 <= value <= 127 for value in book.values):
        raise FormatError(f"codebook {book.name} must hold values of int8, not {list(book.values)}")
    values = np.array(book.values, np.int16)
    codebook = Codebook(book.name, values, OperatingPoint(book.voltage_v, book.frequency_hz), book.slack_s)
    try:
        check_codebook(codebook)
    except HaloquantError as error:
        raise FormatError(str(error)) from error
    return codebook


def digest(config: PackedConfig, tensors: Mapping[str, str]) -> str:
    """Return the SHA-256 over the configuration (without its digest) and the line of every tensor.

    Args:
        config: the configuration.
        tensors: name of every tensor of the model -> its `tensor_line`.
    """
    text = msgspec.json.encode(msgspec.structs.replace(config, sha256=""), order="deterministic")
    lines = "".join(f"{name} {tensors[name]}\n" for name in sorted(tensors))
    return hashlib.sha256(text + b"\n" + lines.encode()).hexdigest()


def new_checksum(version: int) -> Any:
    """Return an empty checksum for the bytes of a tensor, with `update` and `hexdigest`, as a format version needs it.

    XXH3 with 128 bits runs at the speed of memory, so the time to load is bounded by reading and not by hashing.
    SHA-256 takes more than ten times as long; it is used for the files of the manifest. Both detect damage. Neither is
    a signature, since a person who can write the folder can write its digest too.
    """
    return hashlib.sha256() if version == 1 else xxhash.xxh3_128()


def tensor_line(dtype: str, shape: tuple[int, ...], checksum: str) -> str:
    """Return the line of one tensor in the digest: its type, its shape and the checksum of its bytes."""
    return f"{dtype} {list(shape)} {checksum}"


def line_of_data(dtype: str, shape: tuple[int, ...], data: Any, version: int = VERSION) -> str:
    """Return the `tensor_line` of bytes in memory."""
    checksum = new_checksum(version)
    checksum.update(data)
    return tensor_line(dtype, shape, checksum.hexdigest())
