from .boolean_functions import BooleanFunction as BooleanFunction
from .boolean_functions import parse_function as parse_function
from .parser import parse_liberty as parse_liberty
from .records import Cell as Cell
from .records import Library as Library
from .table_interpolation import Table as Table
from .table_interpolation import interpolate as interpolate
from .table_interpolation import look_up as look_up

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
