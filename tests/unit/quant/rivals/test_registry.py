import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals.registry import RIVALS, rival
from haloquant.quant.transforms.error_propagation import PairedInputs
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
    if rival(name).in_order:  # a method that takes the moments of two inputs, here equal ones
        h = statistics.hessian
        statistics = PairedInputs("l", h, h, h, h)
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


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("gptq-w4-g64", "bits=4, group=64"),
        ("smoothquant-w8-a85", "alpha=0.85"),
        ("smoothquant-w3-g128-a0", "bits=3, group=128, alpha=0.0"),
        ("fbquant-w3-g32-r2", "rank=2"),
        ("zeroquant-lorc16-w4", "group=128, steps=0, rate=0.3, rank=16"),
        ("spqr-w4-g32", "bits=4, group=32"),
        ("rtn-w8-g64-sym", "bits=8, group=64, scheme='symmetric'"),
        ("gptq-w8-g64", "scheme='symmetric'"),
    ],
)
def test_a_name_gives_the_settings(name, setting):
    assert setting in repr(rival(name).config)
    assert rival(name).name == name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hqq", r"rival must be one of rtn-wB\[-gN\]\[-sym\], .*, for example gptq-w3-g128, not 'hqq'"),
        ("gptq-w4-g128-r8", r"a rival of gptq must be gptq-wB\[-gN\]\[-sym\]\[-sparse\], not 'gptq-w4-g128-r8'"),
        ("gptq-w9", "bits of the rival 'gptq-w9' must be 2 to 8, not 9"),
        ("rtn-w8-g128", "bits of the rival 'rtn-w8-g128' must be 2 to 7, not 8"),
        ("slim-w7", "must be 2 to 6, not 7"),
        ("awq-w4-g0", "group of the rival 'awq-w4-g0' must be 2 to 65536, not 0"),
        ("smoothquant-w8-a101", "alpha of the rival 'smoothquant-w8-a101' must be 0 to 100, not 101"),
        ("fbquant-w4-r0", "rank of the rival 'fbquant-w4-r0' must be 1 to 1024, not 0"),
        ("gptq-w04", "bits of the rival 'gptq-w04' must be 2 to 8, not 04"),
    ],
)
def test_a_name_of_no_form_is_refused(name, sentence):
    with pytest.raises(InputError, match=sentence):
        rival(name)
