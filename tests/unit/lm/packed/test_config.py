"""The configuration of a packed model: what version 2 says, and the sentence of each edit that it does not."""

import pytest

from haloquant.errors import FormatError
from haloquant.lm.packed.config import digest, line_of_data, make_config, parse_config
from haloquant.lm.packed.reader import open_packed
from support.halo_layers import codebooks
from support.packed_folders import edit, set_book, set_item

EDITS = {
    "newer": (set_item("version", 6), "must be of format version 1 to 5, not 6: install a newer haloquant"),
    "older": (set_item("version", 0), "must be of format version 1 to 5, not 0: quantize the model again"),
    "no_version": (lambda c: c.pop("version"), "must be of format version 1 to 5, not None: it is damaged"),
    "method": (set_item("quant_method", "gptq"), "quant_method of a packed HALO model must be 'halo', not 'gptq'"),
    "unknown": (set_item("surprise", 1), "must be what version 2 says, but: .*surprise"),
    "descending": (set_book("values", [3, 0, -3]), r"must be ascending values with 0 among them, not \[3, 0, -3\]"),
    "wide": (set_book("values", [-300, 0, 1]), "must hold values of int8"),
    "zero_tile": (set_item("tile_in", 0), "tile sizes must be between 1 and 65536"),
    "no_books": (set_item("codebooks", []), "a packed model needs at least one codebook"),
    "layers": (lambda c: c["layers"].pop(), "must belong to a layer that config.json names"),
    "more_layers": (
        lambda c: c["layers"].append("model.x"),
        "model.x must have a tensor weight_packed, and it",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_wrong_configuration_is_refused(copy, name) -> None:
    change, sentence = EDITS[name]
    edit(copy, change)
    with pytest.raises(FormatError, match=sentence):
        open_packed(copy)


def test_a_config_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(FormatError, match="must be 'halo', not None"):
        parse_config(None)


def test_a_configuration_survives_json_and_gives_back_its_codebooks() -> None:
    made = make_config(codebooks(), 32, 64, ("a", "b"), ("booth8", "ab" * 32), 3.9)
    found = parse_config(made.as_dict())
    assert found == made
    assert [(b.name, b.point, b.slack_s) for b in found.books()] == [(b.name, b.point, b.slack_s) for b in codebooks()]
    assert [b.values.tolist() for b in found.books()] == [b.values.tolist() for b in codebooks()]


def test_the_digest_is_over_every_field_and_tensor_but_not_over_itself() -> None:
    config = make_config(codebooks(), 32, 64, ("a",), ("booth8", "ab" * 32), 3.9)
    lines = {"a.x": line_of_data("U8", (2,), b"12"), "a.y": line_of_data("U8", (1,), b"3")}
    whole = digest(config, lines)
    assert digest(config, dict(reversed(lines.items()))) == whole
    assert digest(parse_config(config.as_dict() | {"sha256": whole}), lines) == whole
    others = [
        digest(parse_config(config.as_dict() | {"tile_in": 32}), lines),
        digest(config, {"a.x": lines["a.x"]}),
        digest(config, lines | {"a.y": line_of_data("I8", (1,), b"3")}),
        digest(config, lines | {"a.x": line_of_data("U8", (1, 2), b"12")}),
        digest(config, lines | {"a.x": line_of_data("U8", (2,), b"13")}),
    ]
    assert len({whole, *others}) == 6


def test_checksums_are_those_of_the_formats_version() -> None:
    """SHA-256 of b"" (FIPS 180-4 example) in version 1; XXH3 128 of b"" from the specification in version 2."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert line_of_data("U8", (0,), b"", version=1) == f"U8 [0] {empty}"
    assert line_of_data("U8", (0,), b"") == "U8 [0] 99aa06d3014798d86001c324468d497f"
