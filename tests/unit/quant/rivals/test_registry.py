import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals.registry import RIVALS, rival
from haloquant.records import LayerStatistics


def full_statistics(weight, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(400, weight.shape[1])) * rng.uniform(0.2, 3, size=weight.shape[1])
    return LayerStatistics(
        layer="l",
        tokens=400,
        fisher=rng.chisquare(1, size=weight.shape).astype(np.float32),
        hessian=(2 / 400 * x.T @ x).astype(np.float32),
        input_absmean=np.abs(x).mean(0).astype(np.float32),
        input_absmax=np.abs(x).max(0).astype(np.float32),
        source="test",
    )


@pytest.mark.parametrize("name", sorted(RIVALS))
def test_every_rival_keeps_the_contract(name):
    weight = (np.random.default_rng(1).standard_t(4, size=(32, 160)) * 0.02).astype(np.float32)
    before = weight.copy()
    statistics = full_statistics(weight)
    result = rival(name).quantize(weight, statistics, layer="l")
    np.testing.assert_array_equal(weight, before)
    assert result.layer == "l"
    assert result.weight.shape == weight.shape and result.weight.dtype == np.float32
    assert np.isfinite(result.weight).all()
    relative = np.linalg.norm(result.weight - weight) / np.linalg.norm(weight)
    assert relative < 0.7
    assert result.bits.weights == weight.size
    assert result.bits.per_weight > 2
    if result.mac_values is not None:
        assert result.mac_values.min() >= -128 and result.mac_values.max() <= 127
    again = rival(name).quantize(weight, statistics, layer="l")
    assert again.weight.tobytes() == result.weight.tobytes()


def test_an_unknown_rival_is_refused_by_name():
    with pytest.raises(InputError, match=r"rival must be one of .*gptq-w3-g128.*, not 'hqq'"):
        rival("hqq")
