"""A cell library as bytes, and bytes that are none."""

import msgspec
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.store.cell_library_codec import decode_library, encode_library
from support.circuits import small_liberty
from support.equal_records import same
from support.gate_cases import CELLS, library_text


@pytest.mark.parametrize("text", [library_text(), small_liberty()])
def test_a_library_survives_its_bytes(text: str):
    library = parse_liberty(text, "small.lib")
    assert same(decode_library(encode_library(library)), library)


def test_axes_that_cells_share_are_stored_once():
    """Ten inverters have ten tables of values each, and still the two axes of one."""
    one = {"INV": CELLS["INV"]}
    ten = {f"INV{i}": CELLS["INV"] for i in range(10)}
    small, large = (msgspec.msgpack.decode(encode_library(parse_liberty(library_text(c)))) for c in (one, ten))
    assert len(large["axes"]) == len(small["axes"]) > 0
    assert len(large["values"]) == 10 * len(small["values"]) > 0


@pytest.mark.parametrize("keep", [0, 1, 20, -1, -40])
def test_a_cut_file_is_no_library(keep: int):
    packed = encode_library(parse_liberty(library_text(), "small.lib"))
    with pytest.raises((ValueError, TypeError, IndexError, msgspec.MsgspecError)):
        decode_library(packed[:keep])
