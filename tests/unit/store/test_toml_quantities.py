"""Numbers with units in TOML tables."""

import pytest

from haloquant.errors import TargetError
from haloquant.store.toml_quantities import UNBOUNDED, UNITS, parse_quantity


def _table(value: object, unit: str) -> dict[str, object]:
    return {"value": value, "unit": unit, "status": "cited", "source": "a data sheet"}


@pytest.mark.parametrize(
    ("value", "given", "unit", "si"),
    [(1.2, "GHz", "Hz", 1.2e9), (50, "%", "1", 0.5), (2, "KiB", "B", 2048.0), (3, "fJ/bit", "J/bit", 3e-15)],
)
def test_a_number_is_converted_to_its_si_unit(value: float, given: str, unit: str, si: float) -> None:
    found = parse_quantity(_table(value, given), unit, "x")
    assert found.value == pytest.approx(si, rel=1e-15)
    assert (found.unit, found.status, found.source) == (unit, "cited", "a data sheet")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (_table(0, "V"), r"^x\.value must be above 0 V, not 0 V$"),
        (_table(1, "Hz"), r"^x\.unit must be one of V, mV, not 'Hz'$"),
        (_table(True, "V"), r"^x\.value must be a number, not True$"),
        (_table(1, "V") | {"status": "guessed"}, r"^x\.status must be measured, cited or assumed, not 'guessed'$"),
        (_table(1, "V") | {"source": " "}, r"^x\.source must say where the number comes from, not ' '$"),
        (_table(1e30, "V"), r"^x\.value must be 0\.01 to 100 V, not 1e\+30 V$"),
        (_table(1e-300, "mV"), r"^x\.value must be 0\.01 to 100 V, not 1e-300 mV$"),
        ({"value": 1}, r"^x\.unit is missing; a number has value, unit, status and source$"),
    ],
)
def test_a_wrong_table_is_refused_with_its_path(table: dict[str, object], sentence: str) -> None:
    with pytest.raises(TargetError, match=sentence):
        parse_quantity(table, "V", "x", 0.0, open_below=True)


@pytest.mark.parametrize("unit", UNITS)
def test_every_quantity_has_limits(unit: str) -> None:
    """Squares and quotients of two numbers within them stay floats; none and, of sizes, infinitely many are allowed."""
    assert parse_quantity(_table(0, unit), unit, "x").value == 0
    for value in (1e25, 1e300, 1e-30, 1e-300):
        with pytest.raises(TargetError, match=r"^x\.value must be 0 or .* to .*, not 1e"):
            parse_quantity(_table(value, unit), unit, "x")
    if unit in UNBOUNDED:
        assert parse_quantity(_table(float("inf"), unit), unit, "x").value == float("inf")
