import pytest

from haloquant.units import engineering


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.81e-10, "481 ps"), (0.0, "0 J"), (-1.5e3, "-1.5 kJ"), (9.996e-10, "1 nJ"), (2e-20, "0.02 aJ")],
)
def test_engineering(value: float, text: str) -> None:
    unit = text[-1]
    assert engineering(value, unit) == text
