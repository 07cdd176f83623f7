"""Liberty cell libraries: `parse_liberty` makes a `Library` of a file's text. Reading the file is `store.library`'s.

What is kept: pins with rise and fall capacitance, logic functions as truth tables, NLDM delay and slew tables with
sense and `when`, setup and hold, internal power, leakage, flip-flops, thresholds, the operating condition. Everything
is in SI units. Wire loads, current-source models, noise and buses are left out.
"""

import math

from haloquant.circuits.liberty.boolean_functions import Function, parse_function
from haloquant.circuits.liberty.cells import CellReader
from haloquant.circuits.liberty.nldm import Table
from haloquant.circuits.liberty.records import (
    Cell,
    Constraint,
    InternalPower,
    Leakage,
    Library,
    Pin,
    Register,
    TimingArc,
)
from haloquant.circuits.liberty.syntax import Group, Source, read_groups, unquote
from haloquant.circuits.liberty.tables import read_units
from haloquant.errors import LibertyError
from haloquant.records import Corner

__all__ = [
    "Cell",
    "Constraint",
    "Function",
    "InternalPower",
    "Leakage",
    "Library",
    "Pin",
    "Register",
    "Table",
    "TimingArc",
    "cell_of",
    "parse_function",
    "parse_liberty",
]


def parse_liberty(text: str, source: str = "<text>") -> Library:
    """Parse a cell library.

    Args:
        text: the whole file.
        source: what error messages call it, usually the file's name.

    Returns:
        The library in SI units, at its default operating condition.

    Raises:
        LibertyError: "source:line: ..." where the text is truncated or malformed, a table does not fit its axes, or
            the delay model is not table look-up.
    """
    origin = Source(source, text)
    library = read_groups(origin)
    model = unquote(library.attributes.get("delay_model", "table_lookup"))
    if model != "table_lookup":
        origin.fail(library.offset, f"delay_model must be table_lookup, not {model!r}")
    units = read_units(origin, library)
    reader = CellReader(origin, library, units)
    cells: dict[str, Cell] = {}
    for group in library.groups:
        if group.kind == "cell":
            cell = reader.cell(group)
            if cell.name in cells:
                origin.fail(group.offset, f"the library must hold each cell once, but {cell.name} stands in it twice")
            cells[cell.name] = cell
    if not cells:
        origin.fail(library.offset, "a library must hold at least one cell, but this one has none")
    transition = library.attributes.get("default_max_transition")
    wire_load = library.attributes.get("default_wire_load")
    return Library(
        name=unquote(library.args),
        source=source,
        corner=_corner(origin, library),
        cells=cells,
        input_threshold=_threshold(origin, library, "input_threshold_pct", 50.0),
        output_threshold=_threshold(origin, library, "output_threshold_pct", 50.0),
        slew_lower=_threshold(origin, library, "slew_lower_threshold_pct", 20.0),
        slew_upper=_threshold(origin, library, "slew_upper_threshold_pct", 80.0),
        slew_derate=_number(origin, library, "slew_derate_from_library", 1.0),
        default_max_transition_s=None
        if transition is None
        else _number(origin, library, "default_max_transition", 0.0) * units.time_s,
        default_wire_load=None if wire_load is None else unquote(wire_load),
    )


def cell_of(library: Library, name: str) -> Cell:
    """The cell of that name.

    Raises:
        LibertyError: where the library lacks it; names a few that it has.
    """
    cell = library.cells.get(name)
    if cell is None:
        some = ", ".join(sorted(library.cells)[:5])
        raise LibertyError(f"cell {name} must be in library {library.name}, which has {len(library.cells)}: {some} ...")
    return cell


def _corner(source: Source, library: Group) -> Corner:
    wanted = unquote(library.attributes.get("default_operating_conditions", ""))
    groups = {unquote(g.args): g for g in library.groups if g.kind == "operating_conditions"}
    found = groups.get(wanted)
    voltage = _number(source, library, "nom_voltage", math.nan)
    temperature = _number(source, library, "nom_temperature", math.nan)
    if found is not None:
        voltage = _number(source, found, "voltage", voltage)
        temperature = _number(source, found, "temperature", temperature)
    if not (math.isfinite(voltage) and math.isfinite(temperature)):
        source.fail(library.offset, "a library must state nom_voltage and nom_temperature or an operating condition")
    name = wanted or unquote(library.args)
    return Corner(name, voltage, temperature, _process(found, name, unquote(library.args)))


def _process(condition: Group | None, *names: str) -> str:
    """The process letters: a `process_corner` attribute, or "tt", "ss", "ff" in a name."""
    marked = condition.attributes.get("process_corner", "") if condition else ""
    for text in (unquote(marked), *names):
        words = text.lower().replace("-", "_").split("_")
        for code, marks in (("tt", ("tt", "typ", "typtyp", "typical")), ("ss", ("ss", "slow", "slowslow")),
                            ("ff", ("ff", "fast", "fastfast"))):  # fmt: skip
            if any(mark in words for mark in marks):
                return code
    return "tt"


def _threshold(source: Source, library: Group, name: str, default: float) -> tuple[float, float]:
    rise = _number(source, library, f"{name}_rise", default)
    fall = _number(source, library, f"{name}_fall", default)
    return rise / 100, fall / 100


def _number(source: Source, group: Group, name: str, default: float) -> float:
    raw = group.attributes.get(name)
    if raw is None:
        return default
    try:
        number = float(unquote(raw))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        source.fail(group.offset, f"{name} must be a finite number, not {unquote(raw)[:40]!r}")
    return number
