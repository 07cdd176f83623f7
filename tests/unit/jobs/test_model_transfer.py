"""The bytes of a model over a link, against the sizes of its files and a delay by hand."""

import lzma
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from haloquant.errors import FormatError, InputError
from haloquant.jobs.model_transfer import measure_transfer
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.packed import export_packed
from haloquant.lm.packed.reader import open_packed, stored_bytes
from support.halo_layers import codebooks
from support.packed_folders import PROFILE
from support.tiny_model import quantized, save_llama

RATE, CLIENTS = 20e6, 20


def packed(folder: Path, seed: int = 0, **settings) -> Path:
    from dataclasses import replace

    source = folder.with_name(folder.name + "-source")
    save_llama(source, num_hidden_layers=1, vocab_size=32)
    layers = quantized(open_checkpoint(source), codebooks(), **settings)
    if seed:  # one code of every layer is another
        for number, q in enumerate(layers):
            codes = q.codes.copy()
            codes[0, 0] = 0 if codes[0, 0] else 1
            layers[number] = replace(q, codes=codes)
    export_packed(open_checkpoint(source), layers, folder, **PROFILE)
    return folder


def test_parts_are_the_files_and_the_delay_is_that_by_hand(tmp_path: Path) -> None:
    new, base = packed(tmp_path / "new", 1), packed(tmp_path / "old")
    found = measure_transfer(new, base, RATE, CLIENTS)
    model = open_packed(new)
    stored = sum(tensor.size_bytes for tensor in model.tensors.values()) + (new / "config.json").stat().st_size
    assert found.total_b("stored_b") == stored
    by_name = {part.part: part for part in found.parts}
    codes = [stored_bytes(t) for name, t in sorted(model.tensors.items()) if name.endswith("weight_packed")]
    assert by_name["codes"].stored_b == sum(data.size for data in codes)
    assert by_name["codes"].compressed_b == len(lzma.compress(np.concatenate(codes).tobytes(), preset=6))
    assert by_name["codes"].entropy_b < by_name["codes"].stored_b
    assert by_name["classes"].changed_entropy_b == 0  # the tile maps are the same
    assert by_name["codes"].changed_b is not None and by_name["codes"].changed_b < by_name["codes"].compressed_b / 4
    assert found.seconds["stored"] == pytest.approx(stored * 8 * CLIENTS / RATE)
    assert found.seconds["changed"] < found.seconds["compressed"] < found.seconds["stored"]
    assert "changed" not in measure_transfer(new, None, RATE, 1).seconds


def test_a_base_of_another_structure_and_a_model_that_is_not_packed_are_refused(tmp_path: Path) -> None:
    new, other = packed(tmp_path / "new"), packed(tmp_path / "other", tile=16)
    with pytest.raises(InputError, match=r"the base must have the tile sizes of .*new, and .*other has others"):
        measure_transfer(new, other, RATE, 1)
    with pytest.raises(FormatError):
        measure_transfer(tmp_path / "new-source", None, RATE, 1)
