"""SqueezeLLM: tables and the sparse part."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals import squeezellm
from haloquant.records import LayerStatistics


def statistics(fisher):
    return LayerStatistics("l", 8, fisher=fisher, source="test")


def test_dense_and_sparse_keeps_outliers_to_float16_and_pays_for_them():
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(16, 100)).astype(np.float32)
    weight[3, 7] = 40
    fisher = np.ones_like(weight)
    fisher[5, 5] = 1e6
    config = squeezellm.SqueezeLlmConfig(bits=3, outliers=1 / 1600, salient=1 / 1600)
    result = squeezellm.quantize(weight, statistics(fisher), config, layer="l")
    assert result.weight[3, 7] == pytest.approx(40, rel=1e-3)
    assert result.weight[5, 5] == pytest.approx(weight[5, 5], rel=1e-3)
    # 3-bit indices, 8 float16 words a row, two sparse values (16 + 16 bits) and 17 row pointers of 32 bits.
    assert result.bits.total == 1600 * 3 + 16 * 8 * 16 + 2 * 32 + 17 * 32
    assert result.mac_values is None
    plain = squeezellm.quantize(weight, statistics(fisher), squeezellm.SqueezeLlmConfig(bits=3), layer="l")
    assert plain.bits.sparse == 0


def test_sentences():
    weight = np.ones((2, 2), np.float32)
    with pytest.raises(InputError, match="squeezellm needs the diagonal Fisher, not statistics from 'none'"):
        squeezellm.quantize(weight, LayerStatistics("l", 0), squeezellm.SqueezeLlmConfig(), layer="l")
    with pytest.raises(InputError, match=r"the fraction of outliers must be between 0 and 0.1, not 0.5"):
        squeezellm.quantize(weight, statistics(weight), squeezellm.SqueezeLlmConfig(outliers=0.5), layer="l")
