"""The paper's rounding: what is kept apart, where scales stand, and in which order tiles become slow."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.layer import dequantize, mac_values
from haloquant.quant.paper_method import kept_shares, quantize_weight_to_range, salient_then_outliers, slow_order
from haloquant.quant.tiles import make_grid
from haloquant.records import Codebook, LayerStatistics, OperatingPoint, SparseKind, TileMap

POINT = OperatingPoint(1.0, 1e9)
FAST = Codebook("fast", np.arange(-128, 128, 32).astype(np.int16), POINT, 0.0)
SLOW = Codebook("slow", np.arange(-128, 128, 16).astype(np.int16), POINT, 0.0)


def gaussian(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def test_salient_weights_come_first_and_outliers_are_beyond_three_sigma_of_the_rest() -> None:
    weight = gaussian(100, 200)
    weight[3, 7] = 40.0  # would widen the deviation so that no other weight were an outlier
    fisher = np.zeros_like(weight)
    fisher[3, 7], fisher[5, 5:14] = 2.0, 1.0  # ten weights: 0.05 % of 20,000
    sparse = salient_then_outliers(weight, LayerStatistics("l", 1, fisher=fisher))
    kept = {(row, column): kind for row, column, kind in zip(sparse.rows, sparse.cols, sparse.kind, strict=True)}
    salient = {place for place, kind in kept.items() if kind == SparseKind.SALIENT}
    assert salient == {(3, 7), *((5, column) for column in range(5, 14))}
    rest = weight[_rest(weight, salient)]
    mean, sigma = rest.mean(dtype=np.float64), rest.std(dtype=np.float64)
    far = {
        place for place in map(tuple, np.argwhere(np.abs(weight - mean) > 3 * sigma).tolist()) if place not in salient
    }
    assert set(kept) - salient == far and len(far) > 20


def _rest(weight: np.ndarray, salient: set[tuple[int, int]]) -> np.ndarray:
    mask = np.ones(weight.shape, bool)
    for place in salient:
        mask[place] = False
    return mask


def test_without_gradients_there_are_outliers_only() -> None:
    assert set(salient_then_outliers(gaussian(50, 50)).kind.tolist()) == {int(SparseKind.OUTLIER)}


def test_every_weight_takes_the_nearest_word_and_the_largest_is_not_clipped() -> None:
    weight = gaussian(20, 24, 1)
    classes = np.array([[0, 1], [1, 0]], np.uint8)
    tiles = TileMap("l", make_grid(20, 24, 12, 16), classes)
    made = quantize_weight_to_range(weight, tiles=tiles, codebooks=(FAST, SLOW))
    words = mac_values(made)
    for row in range(20):
        for across in range(2):
            part = slice(16 * across, 16 * across + 16)
            book = (FAST, SLOW)[classes[row // 12, across]]
            scale = made.scale[row, across]
            top = np.abs(weight[row, part]).max()
            assert scale == np.float32(np.float16(top / book.values[-1]))
            off = np.abs(weight[row, part][:, None] - book.values.astype(np.float32) * scale)
            assert (np.abs(weight[row, part] - words[row, part] * scale) <= off.min(axis=1) + 1e-6).all()
            assert np.abs(dequantize(made)[row, part]).max() == pytest.approx(top, rel=2e-3)


def test_sparse_places_hold_zero_and_a_row_of_zeros_stays_zero() -> None:
    weight = gaussian(16, 32, 2)
    weight[4] = 0.0
    weight[2, 3] = 9.0
    sparse = salient_then_outliers(weight)
    tiles = TileMap("l", make_grid(16, 32, 16, 16), np.zeros((1, 2), np.uint8))
    made = quantize_weight_to_range(weight, tiles=tiles, codebooks=(FAST, SLOW), sparse=sparse)
    assert mac_values(made)[2, 3] == 0 and (mac_values(made)[4] == 0).all()
    assert dequantize(made)[2, 3] == pytest.approx(9.0, rel=0.01)


def test_words_of_one_sign_are_refused() -> None:
    tiles = TileMap("l", make_grid(4, 4, 4, 4), np.zeros((1, 1), np.uint8))
    book = Codebook("odd", np.array([0, 16], np.int16), POINT, 0.0)
    with pytest.raises(InputError, match=r"the words of class odd must be of both signs, not \[0, 16\]"):
        quantize_weight_to_range(gaussian(4, 4), tiles=tiles, codebooks=(book,))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95, 1.0])
def test_the_tiles_below_a_share_are_those_of_the_papers_loop(share: float) -> None:
    """The paper: sort by falling sensitivity, cumulate, and take tiles until the share of the layer is kept."""
    rng = np.random.default_rng(3)
    layers = {"a": rng.random((3, 4)), "b": 10 * rng.random((2, 2)) ** 3}
    shares = np.split(kept_shares(layers), [12])
    for (_, scores), mine in zip(layers.items(), shares, strict=True):
        flat, kept, slow = scores.ravel(), 0.0, set()
        for tile in sorted(range(flat.size), key=lambda tile: -flat[tile]):
            if kept >= share * flat.sum():
                break
            slow.add(tile)
            kept += flat[tile]
        assert set(np.nonzero(mine < share)[0].tolist()) == slow


def test_layers_are_cut_each_at_its_own_place_and_one_without_sensitivity_stays_fast() -> None:
    shares = kept_shares({"a": np.array([[3.0, 1.0]]), "none": np.zeros((1, 2)), "b": np.array([[1.0, 300.0]])})
    assert shares.tolist() == pytest.approx([0.0, 0.75, 1.0, 1.0, 300 / 301, 0.0])
    assert slow_order(shares).tolist() == [0, 5, 1, 4, 2, 3]
    with pytest.raises(InputError, match="the sensitivity of the tiles of a must be finite"):
        kept_shares({"a": np.array([[np.nan]])})
