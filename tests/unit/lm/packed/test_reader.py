"""A packed folder is read and verified; damage is refused with a sentence."""

import pytest

from haloquant.errors import FormatError, HaloquantError
from haloquant.lm.packed.reader import check_digest, open_packed, verify
from support.packed_folders import PROFILE, edit, reseal, set_book, set_item


def test_verify_counts_what_it_looked_at(tiny, packed) -> None:
    found = verify(packed, PROFILE["profile_sha256"])
    assert found.layers == 14
    assert found.weights == sum(q.codes.size for q in tiny[1])
    assert found.files == len(list(packed.iterdir())) - 1
    assert (packed / "tokenizer_config.json").read_text() == "{}"


def test_a_flipped_byte_is_found(copy) -> None:
    shard = copy / "model.safetensors"
    data = bytearray(shard.read_bytes())
    data[-100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(FormatError, match=r"model.safetensors must have the SHA-256 \w+, not \w+: the file is damaged"):
        verify(copy)
    (copy / "halo_manifest.json").unlink()
    with pytest.raises(FormatError, match="their SHA-256 is not"):
        verify(copy)


def test_files_that_no_manifest_names_are_said(copy) -> None:
    assert verify(copy).notes == ()
    (copy / "stray.bin").write_text("x")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "lock").write_text("")
    (copy / "sub").mkdir()
    (copy / "sub" / "more.txt").write_text("x")
    assert verify(copy).notes == ("not checked, as halo_manifest.json does not name it: stray.bin, sub/more.txt",)
    (copy / "halo_manifest.json").unlink()
    found = verify(copy)
    assert found.files == 0 and len(found.notes) == 1
    assert found.notes[0].startswith("halo_manifest.json is missing, so only the tensors and quantization_config are")


def test_a_missing_shard_or_file_is_found(copy) -> None:
    (copy / "tokenizer_config.json").unlink()
    with pytest.raises(FormatError, match=r"must hold tokenizer_config.json, which halo_manifest.json names"):
        verify(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(HaloquantError, match=r"must hold model.safetensors"):
        verify(copy)


SILENT = {
    "profile": set_item("profile_sha256", "cd" * 32),
    "codebook": set_book("values", [-127, -96, -64, -48, -32, -16, -8, -4, 0, 4, 8, 16, 32, 48, 64, 97]),
    "point": set_book("frequency_hz", 5e9),
}


@pytest.mark.parametrize("name", SILENT)
def test_a_configuration_of_another_model_is_refused(copy, name) -> None:
    edit(copy, SILENT[name])
    with pytest.raises(FormatError, match=r"the configuration \(codebooks, profile, layers\) was changed"):
        verify(copy)


def test_a_model_for_another_profile_is_refused(packed) -> None:
    with pytest.raises(FormatError, match="must be made for the profile cdcdcdcdcdcd, not for booth8"):
        verify(packed, "cd" * 32)


def test_codes_out_of_range_are_refused_behind_a_right_digest(tiny, copy) -> None:
    def shrink(config):  # the nine-word codebook loses a word, so that code 8 has no meaning
        config["codebooks"][1]["values"] = config["codebooks"][1]["values"][:8]

    edit(copy, shrink)
    reseal(copy)
    check_digest(open_packed(copy).config, open_packed(copy).tensors)
    with pytest.raises(FormatError, match="must be below the size of their tile's codebook, but"):
        verify(copy)
