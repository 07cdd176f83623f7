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
