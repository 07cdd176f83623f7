"""Boolean functions of cells over given inputs."""

import pytest

from haloquant.circuits.liberty.boolean_functions import parse_function, table_over_inputs
from haloquant.errors import LibertyError


def test_a_function_of_pins_that_its_cell_lacks_is_refused() -> None:
    """A damaged library may have a cell whose function reads pins that the cell lacks."""
    function = parse_function("A & B")
    assert table_over_inputs(function, ("B", "A")).tolist() == [0, 0, 0, 1]
    said = r"^a function of pins A, B must be of a cell with them, but this cell's inputs are A, C, without B$"
    with pytest.raises(LibertyError, match=said):
        table_over_inputs(function, ("A", "C"))


@pytest.mark.parametrize(
    ("text", "inputs", "rows"),
    [
        ("!A & B", ("A", "B"), [0, 0, 1, 0]),
        ("A' B", ("A", "B"), [0, 0, 1, 0]),
        ("A + B C", ("A", "B", "C"), [0, 1, 0, 1, 0, 1, 1, 1]),
        ("A ^ B & C", ("A", "B", "C"), [0, 0, 0, 0, 0, 1, 1, 0]),
        ("!(A | B)'", ("A", "B"), [0, 1, 1, 1]),
        ("1", (), [1]),
        ("A * 0", ("A",), [0, 0]),
    ],
)
def test_expressions_bind_as_liberty_says(text: str, inputs: tuple[str, ...], rows: list[int]):
    function = parse_function(text)
    assert function.inputs == inputs
    assert function.table().tolist() == rows
    for row, value in enumerate(rows):
        assert function.evaluate({name: row >> i & 1 for i, name in enumerate(inputs)}) == value


def test_a_function_over_other_inputs():
    assert table_over_inputs(parse_function("B & !A"), ("A", "C", "B")).tolist() == [0, 0, 0, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A &", "an expression must be pins joined by ! ' ^ & * | +, but 'A &' has 'its end'"),
        ("(A", "an expression must be pins joined by ! ' ^ & * | +, but '(A' has 'its end'"),
        ("A ? B", "an expression must be pins joined by ! ' ^ & * | +, but 'A ? B' has '?'"),
        ("", "an expression must be pins joined by ! ' ^ & * | +, but '' has 'its end'"),
        (" ".join(f"A{i}" for i in range(13)), "an expression must name at most 12 pins, not 13: "
         "'A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12'"),
        ("!" * 99 + "A", f"an expression must nest at most 64 deep, not {'!' * 60!r}..."),
        ("A" * 5000, "an expression must have at most 4096 characters, not 5000"),
    ],
)  # fmt: skip
def test_what_is_no_expression(text: str, sentence: str):
    with pytest.raises(LibertyError) as error:
        parse_function(text)
    assert str(error.value) == sentence
