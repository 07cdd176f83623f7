import pytest

from haloquant.units import engineering, least


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.81e-10, "481 ps"), (0.0, "0 J"), (-1.5e3, "-1.5 kJ"), (9.996e-10, "1 nJ"), (2e-20, "0.02 aJ")],
)
def test_engineering(value: float, text: str) -> None:
    unit = text[-1]
    assert engineering(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.23402, "1.235"), (0.00699812, "0.006999"), (9.9999, "10"), (2.0, "2"), (12345.0, "1.235e+04")],
)
def test_least_rounds_up(value: float, text: str) -> None:
    assert least(value) == text and float(text) >= value
