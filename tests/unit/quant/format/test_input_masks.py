"""Masks of inputs as arrays of a packed layer."""

import numpy as np
import pytest

from haloquant.errors import FormatError
from haloquant.quant.format.input_masks import NORM, SPARSITY, THRESHOLD, pack_mask, unpack_mask
from haloquant.quant.format.packing import pack, packed_bits, unpack
from haloquant.quant.input_sparsity.scores import InputMask
from support.halo_layers import codebooks, random_layer, same

MASK = InputMask(np.linspace(0, 1, 41, dtype=np.float16), float(np.float32(0.3)), 0.5)


def _packed() -> dict[str, np.ndarray]:
    return pack(random_layer(37, 41, (7, 11))) | pack_mask(MASK)


def test_a_mask_comes_back_and_leaves_the_weights_as_they_are() -> None:
    tensors = _packed()
    found = unpack_mask(tensors)
    assert found is not None and (found.threshold, found.sparsity) == (MASK.threshold, MASK.sparsity)
    assert np.array_equal(found.norm, MASK.norm)
    assert same(
        unpack(tensors, "layer", codebooks(), 7, 11),
        unpack(pack(random_layer(37, 41, (7, 11))), "layer", codebooks(), 7, 11),
    )
    assert unpack_mask(pack(random_layer(37, 41, (7, 11)))) is None


def test_its_bits_count() -> None:
    plain = packed_bits(pack(random_layer(37, 41, (7, 11))), codebooks())
    assert packed_bits(_packed(), codebooks()).total - plain.total == 16 * 41 + 2 * 32


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (THRESHOLD, np.array([np.nan], np.float32)),
        (THRESHOLD, np.array([-1], np.float32)),
        (THRESHOLD, np.array([0.5], np.float64)),
        (THRESHOLD, np.array([0.5, 0.5], np.float32)),
        (SPARSITY, np.array([0], np.float32)),
        (SPARSITY, np.array([1.5], np.float32)),
        (NORM, np.ones(40, np.float16)),
        (NORM, np.full(41, np.inf, np.float16)),
        (NORM, np.full(41, -0.5, np.float16)),
        (NORM, None),
        (SPARSITY, None),
    ],
)
def test_what_cannot_have_been_written_is_refused(name: str, value: np.ndarray | None) -> None:
    tensors = _packed() | {name: value}
    damaged = {key: array for key, array in tensors.items() if array is not None}
    with pytest.raises(FormatError, match=r"of layer must be|layer must have a tensor input_"):
        unpack(damaged, "layer", codebooks(), 7, 11)
