"""Names, ports and refusals of floating-point elements (`crosscheck/test_floating_point_icarus.py` runs them)."""

import pytest

from haloquant.circuits.rtl.floating_point import CUTS, FloatSpec, float_ports, float_specs, generate_float
from haloquant.errors import NetlistError


def test_names_and_ports() -> None:
    assert sorted(float_specs()) == ["bf16p10-fma", "bf16p5-fma", "bf16p7-fma"]
    for stages, cuts in CUTS.items():
        spec = FloatSpec(stages=stages)
        ports = float_ports(spec)
        assert ports.latency == len(cuts) + 1 == stages
        assert (ports.weight_bits, ports.activation_bits, ports.result_bits, ports.floating) == (16, 16, 32, (8, 7))
        assert f"{stages} pipeline stages" in spec.description
    assert FloatSpec(3, 2, 6).name == "e3m2s6p5-fma"


def test_a_sum_narrower_than_the_product_is_refused() -> None:
    with pytest.raises(NetlistError, match="must have at least 14 fraction bits, those of the product, not 10"):
        generate_float(FloatSpec(sum_fraction_bits=10))


def test_a_register_stands_after_each_cut() -> None:
    for stages, cuts in CUTS.items():
        text = generate_float(FloatSpec(stages=stages))
        assert [number for number in range(1, 10) if f"_{number} <= " in text] == list(cuts)
