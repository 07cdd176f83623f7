"""A layer rounded in torch, held to the same layer rounded by numba."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from haloquant.errors import CheckpointError, InfeasibleError, InputError, ToolError
from haloquant.kernels.rounding import memory, torch_layer
from haloquant.kernels.rounding.sparse_search import usable_row_sums
from haloquant.kernels.rounding.torch_layer import TorchLayer
from haloquant.quant.kronecker_loss import row_factor
from haloquant.quant.layer import dequantize
from haloquant.quant.reference.losses import hessian_loss
from haloquant.quant.rounding.layer_rounder import LayerRounder, NumbaLayer
from support.halo_layers import same
from support.quant_twins import NINE, SIXTEEN, book, random_statistics, random_weight, tile_map

SYMMETRIC = book([-96, -64, -32, -16, 0, 16, 32, 64, 96], "symmetric")
LOPSIDED = book([-128, -40, 0, 10, 20, 30], "lopsided")


def rounded(layer, tiles, books, share=None, budget=0.005, pruned=0.0):
    """The layer in HALO form and its losses; compensated, and refined, where there is a share."""
    assert isinstance(layer, LayerRounder)
    layer.split(budget, pruned)
    if share is None:
        layer.round_nearest(tiles, books)
    else:
        layer.compensate(tiles, books)
        layer.refine(share)
    return layer.quantized(), layer.tile_losses()


def agree(weight, known, tiles, books, share=None, budget=0.005, pruned=0.0, **settings):
    """Both engines: the bounds of equal codes and losses, and the same sparse weights."""
    wanted, losses = rounded(NumbaLayer(weight, known, "layer"), tiles, books, share, budget, pruned)
    made, own = rounded(TorchLayer(weight, known, "layer", **settings), tiles, books, share, budget, pruned)
    # 99.9 % of the codes, or all rows but one: compensation carries a tie that falls the other way along its row.
    other = made.codes != wanted.codes
    assert np.mean(other) <= 0.001 or np.count_nonzero(other.any(axis=1)) <= 1
    assert np.count_nonzero(made.scale != wanted.scale) <= max(1, 0.001 * made.scale.size)
    for part in ("rows", "cols", "kind", "scale"):
        assert np.array_equal(getattr(made.sparse, part), getattr(wanted.sparse, part))
    assert np.allclose(own, losses, rtol=1e-3, atol=1e-3 * np.abs(losses).max())
    layers = NumbaLayer(weight, known, "layer"), TorchLayer(weight, known, "layer", **settings)
    np.testing.assert_allclose(*(layer.tile_sensitivity(tiles.grid) for layer in layers), rtol=1e-12)
    if known is not None and known.hessian is not None:
        theirs, ours = (hessian_loss(weight, dequantize(q), known.hessian).sum() for q in (wanted, made))
        assert ours == pytest.approx(theirs, rel=1e-3)
    return made


@pytest.mark.parametrize("share", [None, 0.0, 0.5, 1.0])
def test_torch_chooses_the_codes_that_numba_chooses(share) -> None:
    # 70 inputs do not fill their tiles, and the classes of tiles are mixed.
    weight, known = random_weight(1, 50, 70), random_statistics(2, 50, 70)
    classes = np.random.default_rng(0).integers(0, 2, (2, 3))
    made = agree(weight, known, tile_map(weight.shape, 32, 32, classes), (SIXTEEN, NINE), share)
    assert made.sparse.values.size == int(0.005 * weight.size)


@pytest.mark.parametrize("share", [None, 0.0, 1.0])
def test_pruned_weights_have_the_word_0_in_both_engines(share) -> None:
    weight, known = random_weight(31, 50, 70), random_statistics(32, 50, 70)
    tiles = tile_map(weight.shape, 32, 32, np.random.default_rng(0).integers(0, 2, (2, 3)))
    for statistics in (known, None) if share is None else (known,):
        made = agree(weight, statistics, tiles, (SIXTEEN, NINE), share, budget=0.01, pruned=0.4)
        zero = np.mean(dequantize(made) == 0, axis=1)
        assert (zero >= 0.34).all() and zero.mean() > 0.38  # a sparse weight may be one of the least important
    few = memory.layer_bytes(20, 70) / memory.USABLE + 1
    agree(weight, known, tiles, (SIXTEEN, NINE), share, budget=0.0, pruned=0.3, memory_b=few)


def test_without_calibration_every_weight_counts_the_same() -> None:
    weight = random_weight(3, 40, 96)
    agree(weight, None, tile_map(weight.shape, 32, 32), (SIXTEEN,))
    agree(weight, None, tile_map(weight.shape, 16, 64), (SYMMETRIC,), budget=0.0)


def test_codebooks_of_one_sided_words_take_negative_scales() -> None:
    weight, known = -np.abs(random_weight(4, 24, 64)), random_statistics(5, 24, 64)
    made = agree(weight, known, tile_map(weight.shape, 32, 32, [[0, 1]]), (LOPSIDED, NINE), 0.5)
    assert (made.scale > 0).any() and (agree(-weight, None, made.tiles, (LOPSIDED, NINE)).scale < 0).any()


def test_rows_of_zeros_and_columns_that_no_token_reached() -> None:
    weight, known = random_weight(6, 32, 64), random_statistics(7, 32, 64)
    weight[3], weight[8, :32] = 0, 0
    hessian = known.hessian.copy()
    hessian[5], hessian[:, 5] = 0, 0
    made = agree(weight, replace(known, hessian=hessian), tile_map(weight.shape, 16, 32), (NINE,), 1.0)
    assert (made.scale[3] == 0).all() and made.scale[8, 0] == 0
    assert (NINE.values[made.codes[3]] == 0).all()


def test_very_small_weights_are_rounded_at_a_larger_size() -> None:
    weight, known = random_weight(8, 32, 64) * np.float32(1e-6), random_statistics(9, 32, 64)
    agree(weight, known, tile_map(weight.shape, 32, 32), (NINE,), 0.5)
    agree(weight, None, tile_map(weight.shape, 32, 32), (NINE,))


def test_value_rows_have_a_hessian_of_their_own() -> None:
    weight, known = random_weight(10, 36, 64), random_statistics(11, 36, 64)
    other = random_statistics(12, 36, 64).hessian
    values = np.zeros(36, bool)
    values[5:17] = values[30] = True
    both = replace(known, value_hessian=other, value_rows=values)
    wanted, losses = rounded(NumbaLayer(weight, both, "layer"), tile_map(weight.shape, 16, 32), (NINE,), 0.5)
    made, own = rounded(TorchLayer(weight, both, "layer"), tile_map(weight.shape, 16, 32), (NINE,), 0.5)
    assert np.mean(made.codes == wanted.codes) >= 0.999 and np.allclose(own, losses, rtol=1e-3)
    alone, _ = rounded(TorchLayer(weight, known, "layer"), tile_map(weight.shape, 16, 32), (NINE,), 0.5)
    assert not np.array_equal(alone.codes[values], made.codes[values])


def test_a_layer_is_rounded_in_several_classes_from_one_split() -> None:
    weight, known = random_weight(13, 32, 64), random_statistics(14, 32, 64)
    tiles, layer = tile_map(weight.shape, 32, 32), TorchLayer(weight, known, "layer")
    layer.split(0.01)
    for books in ((NINE,), (SIXTEEN,), (NINE,)):
        layer.compensate(tiles, books)
        layer.refine(0.5)
        again, _ = rounded(TorchLayer(weight, known, "layer"), tiles, books, 0.5, 0.01)
        assert same(layer.quantized(), again)
    layer.round_nearest(tiles, (NINE,))
    nearest, _ = rounded(TorchLayer(weight, known, "layer"), tiles, (NINE,), None, 0.01)
    assert same(layer.quantized(), nearest)


def test_a_layer_that_does_not_fit_is_rounded_in_bands_of_rows() -> None:
    weight, known = random_weight(15, 50, 64), random_statistics(16, 50, 64)
    few = memory.layer_bytes(12, 64) / memory.USABLE + 1
    assert memory.rows_that_fit(50, 64, few, "layer") == 10
    tiles = tile_map(weight.shape, 16, 32)
    made = agree(weight, known, tiles, (NINE,), 0.5, memory_b=few)
    whole, _ = rounded(TorchLayer(weight, known, "layer"), tiles, (NINE,), 0.5)
    assert np.mean(made.codes == whole.codes) >= 0.999
    agree(weight, None, tiles, (NINE,), memory_b=few)


def test_the_same_bytes_twice() -> None:
    weight, known = random_weight(17, 64, 160), random_statistics(18, 64, 160)
    tiles = tile_map(weight.shape, 32, 32)
    assert same(*(rounded(TorchLayer(weight, known, "layer"), tiles, (NINE,), 0.5)[0] for _ in range(2)))


def test_bad_input_is_refused_in_the_words_of_the_other_engine() -> None:
    weight, known = random_weight(19, 16, 32), random_statistics(20, 16, 32)
    broken = weight.copy()
    broken[1, 2] = np.nan
    tiles = tile_map(weight.shape, 16, 16)
    for kind in (NumbaLayer, TorchLayer):
        with pytest.raises(CheckpointError, match="must be finite, not NaN or infinite in 1 of 512 places"):
            kind(broken, known, "layer").split(0.005)
        layer = kind(weight, known, "layer")
        with pytest.raises(InputError, match="budget must be a share of all weights"):
            layer.split(2.0)
        with pytest.raises(InputError, match="tile grid of layer must be for a weight of shape"):
            layer.compensate(tile_map((16, 48), 16, 16), (NINE,))
        layer = kind(weight, replace(known, hessian=np.full((32, 32), np.nan, np.float32)), "layer")
        layer.split(0.005)
        with pytest.raises(InputError, match="must be finite"):
            layer.compensate(tiles, (NINE,))
        layer = kind(weight, replace(known, hessian=-np.eye(32, dtype=np.float32)), "layer")
        layer.split(0.005)
        with pytest.raises(InputError, match="Hessian of layer must be finite and not negative"):
            layer.compensate(tiles, (NINE,))
        indefinite = np.eye(32, dtype=np.float32)
        indefinite[:2, :2] = [[1, 30], [30, 1]]
        layer = kind(weight, replace(known, hessian=indefinite), "layer")
        layer.split(0.005)
        with pytest.raises(InputError, match="not even if 10 times its mean diagonal is added"):
            layer.compensate(tiles, (NINE,))


def test_a_device_without_room_for_a_row_says_what_would_fit() -> None:
    weight = random_weight(21, 4, 16)
    with pytest.raises(InfeasibleError, match=r"^layer with 16 inputs must have at least 1\.22 GB of device"):
        TorchLayer(weight, random_statistics(22, 4, 16), "layer", memory_b=1e9)


def test_a_failure_of_the_device_is_a_sentence(monkeypatch) -> None:
    weight, known = random_weight(23, 16, 32), random_statistics(24, 16, 32)
    layer = TorchLayer(weight, known, "layer")
    layer.split(0.0)
    cases = (
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"), InfeasibleError,
         r"^rounding layer must have more free memory on cpu: CUDA out of memory. Tried to allocate 2 GiB; end what"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), ToolError,
         r"^the device cpu failed while rounding layer: CUDA error: an illegal memory access was encountered;"),
    )  # fmt: skip
    for failure, kind, words in cases:

        def fail(*_: object, failure: RuntimeError = failure) -> None:
            raise failure

        monkeypatch.setattr(torch_layer, "compensate", fail)
        with pytest.raises(kind, match=words):
            layer.compensate(tile_map(weight.shape, 16, 16), (NINE,))
    monkeypatch.setattr(torch_layer, "compensate", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        layer.compensate(tile_map(weight.shape, 16, 16), (NINE,))


def test_the_sums_of_fisher_information_give_the_row_factor_of_the_other_engine() -> None:
    known = random_statistics(3, 40, 70)
    fisher = known.fisher - np.float32(0.1 * known.fisher.mean())  # some values are below 0
    assert (fisher < 0).any()
    known = replace(known, fisher=fisher)
    sums = usable_row_sums(torch.from_numpy(fisher))
    np.testing.assert_allclose(row_factor(known, sums), row_factor(known), rtol=1e-12)
    fisher[3, 4], fisher[5, 6], fisher[7, 8] = np.nan, -np.inf, np.inf
    assert np.nonzero(np.isnan(usable_row_sums(torch.from_numpy(fisher))))[0].tolist() == [3, 5, 7]


@pytest.mark.parametrize("fisher", ["some below 0", "all 0"])
@pytest.mark.parametrize("share", [None, 1.0])
def test_fisher_information_that_was_rounded_counts_alike_in_both_engines(fisher, share) -> None:
    weight, known = random_weight(11, 40, 70), random_statistics(12, 40, 70)
    less = known.fisher if fisher == "all 0" else np.float32(0.1 * known.fisher.mean())
    agree(weight, replace(known, fisher=known.fisher - less), tile_map(weight.shape, 16, 16), (NINE,), share)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_a_gpu_chooses_the_codes_that_numba_chooses_and_gives_the_same_bytes_twice() -> None:
    weight, known = random_weight(25, 256, 512), random_statistics(26, 256, 512, 1024)
    classes = np.random.default_rng(0).integers(0, 2, (2, 4))
    tiles = tile_map(weight.shape, 128, 128, classes)
    made = [agree(weight, known, tiles, (SIXTEEN, NINE), 0.5, device="cuda:0") for _ in range(2)]
    assert same(*made)
    agree(weight, None, tiles, (SIXTEEN, NINE), device="cuda:0")
