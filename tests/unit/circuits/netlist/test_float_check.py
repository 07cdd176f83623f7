"""Bit patterns and rounding against numpy's floats; the check of a netlist, over all operands of a small format."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.float_check import check_float, drawn_operands, number_of, pattern_of, sum_of
from haloquant.circuits.netlist.logic_check import evaluate_mac
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.rtl.floating_point import FloatSpec, float_ports, generate_float
from haloquant.eda.yosys import find_yosys, synthesize
from haloquant.errors import NetlistError, ToolError
from support.draws import daily
from support.mapping_library import mapping_library_text

SMALL = FloatSpec(3, 2, 6, stages=5)  # exponents -2 to 3, four fractions; sums have 64 fractions


def test_patterns_are_those_of_numpy() -> None:
    """float16 has 5 and 10 bits, float32 8 and 23; half of the way between two of them goes to the even one."""
    random = np.random.default_rng(0)
    for kind, bits, sizes in ((np.float16, np.uint16, (5, 10)), (np.float32, np.uint32, (8, 23))):
        numbers = random.choice([-1, 1], 500) * random.uniform(1, 2, 500) * 2.0 ** random.integers(-10, 10, 500)
        ties = kind(numbers).astype(np.float64) + 0.5 * np.spacing(kind(numbers)).astype(np.float64)
        for number in (*numbers, *ties):
            pattern = int(kind(number).view(bits))
            assert pattern_of(Fraction(number), *sizes) == pattern
            assert number_of(pattern, *sizes) == Fraction(float(kind(number)))


def test_ends_of_the_range() -> None:
    assert pattern_of(Fraction(2) ** 16, 5, 10) == 31 << 10 and pattern_of(-(Fraction(2) ** 16), 5, 10) == 63 << 10
    assert pattern_of(Fraction(65519), 5, 10) == 30 << 10 | 1023 and pattern_of(Fraction(65520), 5, 10) == 31 << 10
    assert pattern_of(Fraction(1, 2**14), 5, 10) == 1 << 10 and pattern_of(Fraction(1, 2**15), 5, 10) == 0
    assert number_of(1023, 5, 10) == 0 == number_of(1 << 15, 5, 10)  # subnormal, and -0


def test_sums_are_those_of_float32_where_its_product_is_exact() -> None:
    weight, activation, partial = drawn_operands(8, 7, 23, count=600)
    kept = (np.abs((weight >> 7 & 255) - 127) < 20) & (np.abs((activation >> 7 & 255) - 127) < 20)
    for w, a, p in zip(weight[kept].tolist(), activation[kept].tolist(), partial[kept].tolist(), strict=True):
        x, y, z = (np.uint32(v).view(np.float32) for v in (w << 16, a << 16, p))
        assert sum_of(w, a, p, 8, 7, 23) == int((x * y + z).view(np.uint32)) & (0x7FFFFFFF if x * y + z == 0 else -1)


def all_sums() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every triple of the small format, and the pattern of its rounded sum: float64 holds all of them exactly."""

    def patterns(bits: int) -> np.ndarray:
        every = np.arange(1 << (4 + bits))
        exponent, fraction = every >> bits & 7, every & ((1 << bits) - 1)
        return every[(exponent < 7) & ((exponent > 0) | (fraction == 0))]

    def number(pattern: np.ndarray, bits: int) -> np.ndarray:
        exponent, fraction = pattern >> bits & 7, pattern & ((1 << bits) - 1)
        size = (1 + fraction / (1 << bits)) * 2.0 ** (exponent - 3) * (exponent > 0)
        return np.where(pattern >> (3 + bits), -size, size)

    w, a, p = (grid.ravel() for grid in np.meshgrid(patterns(2), patterns(2), patterns(6), indexing="ij"))
    exact = number(w, 2) * number(a, 2) + number(p, 6)
    mantissa, power = np.frexp(np.abs(exact))
    steps = np.rint(np.ldexp(mantissa, 7)).astype(np.int64)  # of 64ths; rint takes the even one
    power = power - 1 + (steps == 128)
    exponent = np.clip(power + 3, 0, 7)
    fraction = np.where((exponent < 7) & (steps < 128), steps - 64, 0)
    found = (exact < 0).astype(np.int64) << 9 | exponent << 6 | fraction
    return w, a, p, np.where((exact == 0) | (exponent == 0), 0, found)


@pytest.mark.thinned
@pytest.mark.parametrize("stages", daily([5, 10], [5]))
def test_every_operand_of_a_small_format_on_a_mapped_netlist(tmp_path: Path, stages: int) -> None:
    try:
        find_yosys()
    except ToolError as error:
        pytest.skip(f"needs Yosys: {error}")
    path = tmp_path / "mapping.lib"
    path.write_text(mapping_library_text())
    library, spec = parse_liberty(path.read_text(), "mapping"), FloatSpec(3, 2, 6, stages)
    text = generate_float(spec)
    netlist = parse_netlist(synthesize(text, path, 1e-9, abc_script="sharing").json_text, library, float_ports(spec))
    w, a, p, wanted = all_sums()
    signed = (w - (w >> 5 << 6)).astype(np.int16)
    for part in np.array_split(np.arange(w.size), 8):
        found = evaluate_mac(netlist, library, signed[part], a[part], p[part]) & 1023
        assert np.array_equal(found, wanted[part])
    assert w.size == 50 * 50 * 770 and check_float(netlist, library) == 4096
    if stages == 5:
        wrong = synthesize(text.replace(" + up;", ";"), path, 1e-9, abc_script="sharing")
        broken = parse_netlist(wrong.json_text, library, float_ports(spec))
        with pytest.raises(NetlistError, match=r"must round weight \* activation \+ partial, but gives 0x"):
            check_float(broken, library)
