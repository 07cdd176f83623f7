"""8-bit floats against torch's, sums against numpy's binary16 and binary32, bfloat16 against whole numbers."""

from fractions import Fraction

import numpy as np
import pytest

from haloquant.circuits import number_formats as formats
from haloquant.errors import InputError


@pytest.mark.parametrize(("form", "named"), [("e4m3", "float8_e4m3fn"), ("e5m2", "float8_e5m2")])
def test_every_pattern_is_torchs_number(form: str, named: str) -> None:
    torch = pytest.importorskip("torch")
    every = np.arange(-128, 128, dtype=np.int8)
    numbers = torch.from_numpy(every).view(getattr(torch, named)).double().numpy()
    finite = np.isfinite(numbers)
    assert np.array_equal(formats.float8_patterns(form), every[finite])
    assert np.array_equal(formats.float8_numbers(every[finite].astype(np.int64), form), numbers[finite])


def test_ends_of_the_formats_by_hand() -> None:
    """The specification's table: largest, smallest normal and smallest subnormal numbers."""
    for form, patterns, numbers in (
        ("e4m3", [0x7E, 0x08, 0x01, 0x38], [448.0, 2.0**-6, 2.0**-9, 1.0]),
        ("e5m2", [0x7B, 0x04, 0x01, 0x3C], [57344.0, 2.0**-14, 2.0**-16, 1.0]),
    ):
        assert formats.float8_numbers(np.array(patterns), form).tolist() == numbers
        assert [formats.weight_of(number, form) for number in numbers] == patterns
    assert formats.weight_of(0.0, "e4m3") == formats.weight_of(-0.0, "e4m3") == 0
    assert formats.weight_numbers(np.array([-128, 0, 56], np.int16), "e4m3") == [0, 0, 1]


@pytest.mark.parametrize(
    ("number", "form", "sentence"),
    [
        (0.3, "e4m3", r"a number that e4m3 holds, such as 0\.28125 or 0\.3125, not 0\.3$"),
        (float("nan"), "e5m2", "a number that e5m2 holds, such as 0 or 1, not nan"),
        (449.0, "e4m3", "such as 416 or 448, not 449"),
        (2.5, "integer", r"a whole number of 16 bits, such as 0, 8 or -8, not 2\.5"),
        (1e30, "integer", "a whole number of 16 bits"),
        (float("nan"), "integer", "a whole number of 16 bits"),
    ],
)
def test_a_weight_that_is_none(number: float, form: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        formats.weight_of(number, form)


@pytest.mark.parametrize(
    ("form", "kind", "bits"), [("float16", np.float16, np.uint16), ("float32", np.float32, np.uint32)]
)
def test_sums_round_as_numpys(form: str, kind: type, bits: type) -> None:
    """Drawn numbers of all sizes, subnormal ones too, half of the way between two, and beyond the range."""
    random = np.random.default_rng(0)
    low, high = (-30, 18) if form == "float16" else (-152, 129)
    numbers = random.standard_normal(2000) * 2.0 ** random.integers(low, high, 2000)
    with np.errstate(over="ignore", invalid="ignore"):
        ties = kind(numbers).astype(np.float64) + 0.5 * np.spacing(kind(numbers)).astype(np.float64)
        every = np.concatenate([numbers, ties[np.isfinite(ties)]])
        wanted = kind(every).view(bits).tolist()
    mantissa, power = np.frexp(every)
    top = 1 << (formats.sum_bits_of(form) - 1)
    for number, whole, exponent, pattern in zip(
        every, (mantissa * 2**53).tolist(), power.tolist(), wanted, strict=True
    ):
        found = formats.sum_pattern(int(whole), exponent - 53, form, False, False)
        assert found == (0 if pattern % top == 0 else pattern)
        with np.errstate(over="ignore"):
            value = kind(number)
        if np.isfinite(value):
            size, unit = formats.sum_number(pattern, form, False)
            assert Fraction(size) * Fraction(2) ** unit == Fraction(float(value))


def test_bfloat16_is_the_upper_half_of_binary32() -> None:
    random = np.random.default_rng(0)
    for upper in random.integers(0, 0x7F7F, 500).tolist():
        exact = Fraction(float(np.uint32(upper << 16).view(np.float32)))
        step = Fraction(float(np.uint32((upper + 1) << 16).view(np.float32))) - exact
        for part, wanted in (
            (0, upper),
            (Fraction(2, 5), upper),
            (Fraction(3, 5), upper + 1),
            (Fraction(1, 2), upper + (upper & 1)),
        ):
            number = exact + part * step
            power = -200
            whole = number / Fraction(2) ** power
            found = formats.sum_pattern(round(whole), power, "bfloat16", False, False)
            assert found == wanted


def test_ends_of_sums() -> None:
    assert formats.sum_pattern(65520, 0, "float16", False, False) == 0x7C00
    assert formats.sum_pattern(-65520, 0, "float16", False, True) == 0xFBFF
    assert (
        formats.sum_pattern(1, -15, "float16", True, False) == 0 != formats.sum_pattern(1, -15, "float16", False, False)
    )
    assert formats.sum_number(0x3FF, "float16", True)[0] == 0 and formats.sum_number(0x3FF, "float16", False) == (
        1023,
        -24,
    )


def test_sums_in_fixed_point_wrap_or_saturate() -> None:
    one = np.array([57344 << 16], dtype=np.int64)  # the largest E5M2 number, whose square takes 64 bits
    exact = int(one[0]) ** 2 - 3
    minus = np.array([-3], dtype=np.int64)
    assert formats.fixed_sums(one, one, minus, 64, True) == [(1 << 63) - 1]
    assert formats.fixed_sums(one, one, minus, 64, False) == [exact - (1 << 64)]
    assert formats.fixed_sums(one, -one, minus, 64, True) == [-(1 << 63)]


def test_drawn_sums_are_finite_and_many_lie_beside_the_product() -> None:
    random = np.random.default_rng(0)
    products = (random.integers(-200, 200, 3000) << random.integers(0, 20, 3000)).tolist()
    for form in ("float16", "bfloat16", "float32"):
        found = formats.drawn_sums(products, -18, form, random)
        width = formats.sum_bits_of(form)
        assert ((found >= 0) & (found < 1 << width)).all()
        infinity = formats.sum_pattern(1, 1000, form, False, False)
        assert ((found & ((1 << (width - 1)) - 1)) < infinity).all()
        sums = formats.float_sums(np.array(products), np.ones(3000, np.int64), found, -18, form, False, False)
        assert 30 < sum(pattern == 0 for pattern in sums) < 1000  # they cancel
