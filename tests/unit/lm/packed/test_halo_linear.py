"""The tables of a packed layer follow its tensors, however these are changed."""

import copy
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

import haloquant
from haloquant.errors import FormatError
from haloquant.lm.export.packed import export_packed
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.lm.packed.reader import open_packed, read_layer, verify
from haloquant.lm.torch_model import load_model
from haloquant.quant.format.packing import pack
from haloquant.quant.layer import dequantize, resized
from haloquant.records import QuantizedWeight, TileMap
from support.halo_layers import codebooks, random_layer, same
from support.packed_layers import packed_module, packed_tensors

X = torch.from_numpy(np.random.default_rng(3).standard_normal((3, 96)).astype(np.float32))


def first_and_other() -> tuple[QuantizedWeight, QuantizedWeight]:
    """Two layers whose tensors have the same shapes and types, and whose tiles have other classes."""
    first = random_layer(96, 96, 32, seed=0, sparse=0.02)
    classes = np.roll(first.tiles.codebook, 1).copy()
    assert not np.array_equal(classes, first.tiles.codebook)
    codes = np.minimum(first.codes[::-1], 8)  # valid in both codebooks
    tiles = TileMap(first.layer, first.tiles.grid, classes)
    zeros = np.array([int(np.searchsorted(book.values, 0)) for book in codebooks()], np.uint8)
    rows, cols = 95 - first.sparse.rows, first.sparse.cols
    order = np.lexsort((cols, rows))
    sparse = replace(first.sparse, rows=rows[order], cols=cols[order])
    codes = codes.copy()
    codes[sparse.rows, sparse.cols] = zeros[classes[sparse.rows // 32, sparse.cols // 32]]
    other = replace(first, codes=codes, tiles=tiles, sparse=sparse)
    a, b = pack(first), pack(other)
    assert {n: (x.shape, x.dtype) for n, x in a.items()} == {n: (x.shape, x.dtype) for n, x in b.items()}
    assert not same(first, other)
    return first, other


def product(q: QuantizedWeight) -> torch.Tensor:
    return X @ torch.from_numpy(dequantize(q)).T


def assert_is(module: HaloLinear, q: QuantizedWeight) -> None:
    assert torch.allclose(module(X), product(q), rtol=1e-5, atol=1e-5)
    assert torch.equal(module.dequantize(torch.float32), torch.from_numpy(dequantize(q)))


def load(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    module.load_state_dict({"weight": module.weight, **tensors})
    return module


def load_into_parent(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    parent = torch.nn.Sequential(module)
    parent.load_state_dict({f"0.{name}": tensor for name, tensor in {"weight": module.weight, **tensors}.items()})
    return module


def assign(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    module.load_state_dict({"weight": module.weight, **tensors}, assign=True)
    return module


def swap(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return load(module, tensors)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def write_in_place(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    for name, tensor in tensors.items():
        module.get_buffer(name).copy_(tensor)
    return module


def write_in_inference_mode(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    with torch.inference_mode():
        return write_in_place(module, tensors)


def replace_storage(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    for name, tensor in tensors.items():
        module.get_buffer(name).data = tensor
    return module


def write_through_data(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    for name, tensor in tensors.items():
        module.get_buffer(name).data.copy_(tensor)
    module.refresh()  # the one kind of change that cannot be seen
    return module


def set_attributes(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    for name, tensor in tensors.items():
        setattr(module, name, tensor)
    return module


def write_into_a_copy(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    """The copy's counts of changes begin at 0, so they may reach those of the original."""
    write_in_place(module, packed_tensors(first_and_other()[0]))
    module(X)
    return write_in_place(copy.deepcopy(module), tensors)


def write_into_a_saved_one(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    module(X)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return write_in_place(torch.load(file, weights_only=False), tensors)


def move_and_load(module: HaloLinear, tensors: dict[str, torch.Tensor]) -> HaloLinear:
    return load(module.to(torch.bfloat16).to("cpu"), tensors)


CHANGES: list[Callable[[HaloLinear, dict[str, torch.Tensor]], HaloLinear]] = [
    load,
    load_into_parent,
    assign,
    swap,
    write_in_place,
    write_in_inference_mode,
    replace_storage,
    write_through_data,
    set_attributes,
    write_into_a_copy,
    write_into_a_saved_one,
    move_and_load,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_other_tensors_of_equal_shapes_take_effect_however_they_come(change) -> None:
    first, other = first_and_other()
    module = packed_module(first)
    assert_is(module, first)
    assert_is(change(module, packed_tensors(other)), other)


@pytest.mark.parametrize("name", ["weight_tile_class", "sparse_row_count"])
def test_one_table_changed_alone_is_checked_before_it_is_used(name: str) -> None:
    first, other = first_and_other()
    module = packed_module(first)
    module(X)
    module.get_buffer(name).copy_(packed_tensors(other)[name])  # fits no longer: kernels would read beyond the codes
    with pytest.raises(FormatError, match=first.layer):
        module(X)
    module.get_buffer(name).copy_(packed_tensors(first)[name])
    assert_is(module, first)


@pytest.mark.parametrize("name", ["weight_tile_class", "sparse_row_count"])
def test_one_tensor_replaced_by_one_that_does_not_fit_is_refused(name: str) -> None:
    first, _ = first_and_other()
    module = packed_module(first)
    module(X)
    setattr(module, name, torch.zeros_like(module.get_buffer(name)))
    with pytest.raises(FormatError, match=f"{first.layer} must be .* replaced"):
        module(X)


def test_tensors_that_were_moved_are_not_checked_in_full_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights in slow memory every pass brings new tensors of the same values."""
    first, other = first_and_other()
    module = packed_module(first)
    module(X)
    monkeypatch.setattr(module, "check", lambda: pytest.fail("checked again"))
    assert_is(set_attributes(module, packed_tensors(other)), other)


def test_codes_that_no_codebook_holds_are_refused_after_loading() -> None:
    first, _ = first_and_other()
    module = packed_module(first)
    module(X)
    damaged = packed_tensors(first)
    damaged["weight_packed"].fill_(255)
    with pytest.raises(FormatError, match=r"codes of .* must be below the size of their tile's codebook"):
        load(module, damaged)


def test_a_layer_made_in_inference_mode_follows_its_tensors_too() -> None:
    first, other = first_and_other()
    with torch.inference_mode():
        module = packed_module(first)
        write_in_place(module, {name: tensor.clone() for name, tensor in module.stored().items()})
        assert_is(module, first)
        write_in_place(module, packed_tensors(other))
        assert_is(module, other)


def test_nothing_is_computed_again_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    module = packed_module(first_and_other()[0])
    made = module.layer()
    monkeypatch.setattr(module, "check", lambda: pytest.fail("checked again"))
    for _ in range(3):
        module(X)
        assert module.layer() is made
    module.to("cpu")
    module.to(torch.bfloat16)
    module(X)
    assert module.layer().scale.dtype == torch.float16


def test_compiled_code_uses_the_tables_of_tensors_that_were_loaded_later() -> None:
    first, other = first_and_other()
    module = packed_module(first)
    module(X)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(X), product(first), rtol=1e-5, atol=1e-5)
    for change in (load, assign):
        change(module, packed_tensors(other))
        assert torch.allclose(compiled(X), product(other), rtol=1e-5, atol=1e-5)
        first, other = other, first


def test_a_model_with_layers_of_tiny_weights_is_loaded_and_saved_again(tiny, tmp_path) -> None:
    """Every layer has an exponent; the logits are those of the original with the de-quantized weights."""
    layers = [resized(q, 30) for q in tiny[1]]
    export_packed(tiny[0], layers, tmp_path / "packed", profile_name="p", profile_sha256="0" * 64)
    verify(tmp_path / "packed")
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        model = haloquant.load(tmp_path / "packed", dtype=torch.float32)
        made = model(ids).logits
        plain = load_model(tiny[0].folder)
        for q in layers:
            plain.get_submodule(q.layer).weight.copy_(torch.from_numpy(dequantize(q)))
        torch.testing.assert_close(made, plain(ids).logits, rtol=1e-4, atol=1e-5)
        module = model.get_submodule(layers[0].layer)
        x = torch.ones(1, module.in_features)
        torch.testing.assert_close(module(x)[0] * 2.0**30, plain.get_submodule(layers[0].layer)(x)[0] * 2.0**30)
        model.to(torch.bfloat16).to(torch.float32).save_pretrained(tmp_path / "again")
        assert same(read_layer(open_packed(tmp_path / "again"), layers[0].layer), layers[0])
