"""`parse_liberty` converts the text of a Liberty file to a `Library`. `store.cell_libraries` reads the file.

The library keeps, in SI units:
- pins with rise and fall capacitance, and logic functions as truth tables;
- NLDM delay and slew tables with sense and `when`, and setup and hold constraints;
- internal power and leakage;
- flip-flops, thresholds and the operating condition.

It leaves out wire loads, current-source models, noise and buses.
"""

import math

from haloquant.circuits.liberty.cells import CellReader
from haloquant.circuits.liberty.records import Cell, Library
from haloquant.circuits.liberty.syntax import Group, SourceText, read_groups, unquote
from haloquant.circuits.liberty.tables import read_number, read_units
from haloquant.records import Corner


def parse_liberty(text: str, source: str = "<text>") -> Library:
    """Parse a cell library.

    Args:
        text: the whole file.
        source: the name of the text in error messages, usually the file's name.

    Returns:
        The library in SI units, at its default operating condition.

    Raises:
        LibertyError: If the text is truncated or malformed, a table does not fit its axes, or the delay model is not
            table look-up. The message begins with "source:line: ".
    """
    origin = SourceText(source, text)
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
        slew_derate=read_number(origin, library, "slew_derate_from_library", 1.0),
        default_max_transition_s=None
        if transition is None
        else read_number(origin, library, "default_max_transition", 0.0) * units.time_s,
        default_wire_load=None if wire_load is None else unquote(wire_load),
    )


def _corner(source: SourceText, library: Group) -> Corner:
    wanted = unquote(library.attributes.get("default_operating_conditions", ""))
    groups = {unquote(g.args): g for g in library.groups if g.kind == "operating_conditions"}
    found = groups.get(wanted)
    voltage = read_number(source, library, "nom_voltage", math.nan)
    temperature = read_number(source, library, "nom_temperature", math.nan)
    if found is not None:
        voltage = read_number(source, found, "voltage", voltage)
        temperature = read_number(source, found, "temperature", temperature)
    if not (math.isfinite(voltage) and math.isfinite(temperature)):
        source.fail(library.offset, "a library must state nom_voltage and nom_temperature or an operating condition")
    name = wanted or unquote(library.args)
    return Corner(name, voltage, temperature, _process(found, name, unquote(library.args)))


def _process(condition: Group | None, *names: str) -> str:
    """Return the process corner "tt", "ss" or "ff", from the attribute `process_corner` or else from a name."""
    marked = condition.attributes.get("process_corner", "") if condition else ""
    for text in (unquote(marked), *names):
        words = text.lower().replace("-", "_").split("_")
        for code, marks in (("tt", ("tt", "typ", "typtyp", "typical")), ("ss", ("ss", "slow", "slowslow")),
                            ("ff", ("ff", "fast", "fastfast"))):  # fmt: skip
            if any(mark in words for mark in marks):
                return code
    return "tt"


def _threshold(source: SourceText, library: Group, name: str, default: float) -> tuple[float, float]:
    rise = read_number(source, library, f"{name}_rise", default)
    fall = read_number(source, library, f"{name}_fall", default)
    return rise / 100, fall / 100
