from .boolean_functions import BooleanFunction as BooleanFunction
from .boolean_functions import parse_function as parse_function
from .nldm import Table as Table
from .nldm import interpolate as interpolate
from .nldm import look_up as look_up
from .parser import parse_liberty as parse_liberty
from .records import Cell as Cell
from .records import Library as Library

__all__ = [
    "BooleanFunction",
    "Cell",
    "Library",
    "Table",
    "interpolate",
    "look_up",
    "parse_function",
    "parse_liberty",
]
