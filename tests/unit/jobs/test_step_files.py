"""Codebooks and packed layers of a finished step come back as they were written."""

from pathlib import Path

import numpy as np
import pytest

from haloquant.dvfs.classes import Classes
from haloquant.errors import FormatError
from haloquant.jobs.step_files import load_classes, load_packed, save_classes, save_packed
from haloquant.quant.format.packing import pack
from haloquant.store.arrays import load_arrays, save_arrays
from support.accel_cases import toy_codebooks, toy_profile
from support.halo_layers import codebooks, random_layer


def test_classes_come_back_with_their_clocks(tmp_path: Path) -> None:
    classes = Classes(toy_profile(), 0, toy_codebooks())
    save_classes(tmp_path, classes)
    found = load_classes(tmp_path, classes.profile, 0)
    assert [(b.name, b.point, b.slack_s) for b in found.codebooks] == [
        (b.name, b.point, b.slack_s) for b in classes.codebooks
    ]
    for mine, theirs in zip(found.codebooks, classes.codebooks, strict=True):
        assert mine.values.dtype == theirs.values.dtype and np.array_equal(mine.values, theirs.values)


def test_layers_come_back_in_the_order_asked_for_although_one_name_begins_another(tmp_path: Path) -> None:
    layers = {name: random_layer(40, 48, 16, seed=seed, layer=name) for seed, name in enumerate(("a.b", "a.b2", "a"))}
    save_packed(tmp_path, {name: pack(layer) for name, layer in layers.items()})
    found = load_packed(tmp_path, ("a", "a.b2", "a.b"), codebooks(), 16)
    assert [weight.layer for weight in found] == ["a", "a.b2", "a.b"]
    for weight in found:
        arrays = pack(layers[weight.layer])
        assert weight.tensors.keys() == arrays.keys()
        assert all(np.array_equal(weight.tensors[name], arrays[name]) for name in arrays)


def test_layers_that_lack_an_array_are_refused(tmp_path: Path) -> None:
    save_packed(tmp_path, {"a": pack(random_layer(40, 48, 16, layer="a"))})
    file = tmp_path / "packed.safetensors"
    save_arrays(file, {name: array for name, array in load_arrays(file).items() if name != "a.weight_scale"})
    with pytest.raises(FormatError, match="weight_scale"):
        load_packed(tmp_path, ("a",), codebooks(), 16)
