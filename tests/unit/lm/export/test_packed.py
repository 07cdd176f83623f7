"""A packed model folder holds every layer as it was and every other tensor byte for byte."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from haloquant.errors import InputError
from haloquant.lm.export.packed import export_packed
from haloquant.lm.packed.reader import iterate_layers, open_packed, verify
from support.halo_layers import codebooks, same
from support.packed_folders import PROFILE


def test_layers_come_back_as_they_were(tiny, packed) -> None:
    found = list(iterate_layers(open_packed(packed)))
    assert [q.layer for q in found] == [q.layer for q in tiny[1]]
    assert all(same(a, b) for a, b in zip(found, tiny[1], strict=True))
    books = found[0].codebooks
    assert [b.point for b in books] == [b.point for b in codebooks()]


def test_other_tensors_are_copied_byte_for_byte(tiny, packed) -> None:
    before, after = load_file(tiny[0].folder / "model.safetensors"), load_file(packed / "model.safetensors")
    kept = [name for name in before if name.endswith(("norm.weight", "bias", "embed_tokens.weight"))]
    assert len(kept) > 10
    assert all(np.array_equal(before[name], after[name]) for name in kept)


def test_shards_hold_the_same_tensors(tiny, packed, tmp_path) -> None:
    export_packed(*tiny, tmp_path / "shards", **PROFILE, shard_bytes=20000)
    assert len(list((tmp_path / "shards").glob("model-*-of-*.safetensors"))) > 2
    found = list(iterate_layers(open_packed(tmp_path / "shards")))
    assert all(same(a, b) for a, b in zip(found, tiny[1], strict=True))
    assert open_packed(tmp_path / "shards").config.sha256 == open_packed(packed).config.sha256
    verify(tmp_path / "shards")


def test_nothing_is_left_of_an_export_that_failed(tiny, tmp_path) -> None:
    def broken():
        yield tiny[1][0]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        export_packed(tiny[0], broken(), tmp_path / "out", **PROFILE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(tiny, packed) -> None:
    with pytest.raises(InputError, match="must not exist or be empty"):
        export_packed(*tiny, packed, **PROFILE)
