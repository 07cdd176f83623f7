"""`parse_liberty` converts the text of a Liberty file to a `Library`. `store.cell_libraries` reads the file.

The library keeps, in SI units:
- pins with rise and fall capacitance, and logic functions as truth tables;
- NLDM delay and slew tables with sense and `when`, and setup and hold constraints;
- internal power and leakage;
- flip-flops, thresholds and the operating condition.

It leaves out wire loads, current-source models, noise and buses. A cell that cannot be read is left out with a warning.
"""

import math
import re

from haloquant.circuits.liberty.cells import CellReader
from haloquant.circuits.liberty.records import Cell, Library
from haloquant.circuits.liberty.syntax import Group, SourceText, read_groups, unquote
from haloquant.circuits.liberty.tables import read_number, read_units
from haloquant.errors import LibertyError
from haloquant.records import Corner

_LEAST_V, _MOST_V = 0.05, 50.0
_VOLTAGE_MAP = re.compile(r'\bvoltage_map\s*\(\s*"?[\w.]+"?\s*,\s*"?([0-9]{1,9}(?:\.[0-9]{0,9})?)"?\s*\)')


def parse_liberty(text: str, source: str = "<text>") -> Library:
    """Parse a cell library.

    Args:
        text: the whole file.
        source: the name of the text in error messages, usually the file's name.

    Returns:
        The library in SI units, at its default operating condition.

    Raises:
        LibertyError: If the text is truncated or malformed, no cell can be read, or the delay model is not table
            look-up. The message begins with "source:line: ".
    """
    origin = SourceText(source, text)
    library = read_groups(origin)
    model = unquote(library.attributes.get("delay_model", "table_lookup"))
    if model != "table_lookup":
        origin.fail(library.offset, f"delay_model must be table_lookup, not {model!r}")
    units = read_units(origin, library)
    reader = CellReader(origin, library, units)
    cells: dict[str, Cell] = {}
    refused: list[LibertyError] = []
    left_out: list[int] = []
    warnings: list[str] = []
    for group in library.groups:
        if group.kind != "cell":
            continue
        name = unquote(group.args)
        if name in cells:
            warnings.append(f"cell {name} stands in the library twice; the first is taken")
            left_out += [group.offset, group.end]
            continue
        try:
            cells[name] = reader.cell(group)
        except LibertyError as error:
            refused.append(error)
            warnings.append(f"cell {name} is left out: {error}")
            left_out += [group.offset, group.end]
    if not cells:
        if refused:
            raise refused[0]
        origin.fail(library.offset, "a library must hold at least one cell, but this one has none")
    transition = library.attributes.get("default_max_transition")
    wire_load = library.attributes.get("default_wire_load")
    return Library(
        name=unquote(library.args),
        source=source,
        corner=_corner(origin, library, units.voltage_v, warnings),
        cells=cells,
        input_threshold=_threshold(origin, library, "input_threshold_pct", 50.0),
        output_threshold=_threshold(origin, library, "output_threshold_pct", 50.0),
        slew_lower=_threshold(origin, library, "slew_lower_threshold_pct", 20.0),
        slew_upper=_threshold(origin, library, "slew_upper_threshold_pct", 80.0),
        slew_derate=_slew_derate(origin, library),
        default_max_transition_s=None
        if transition is None
        else read_number(origin, library, "default_max_transition", 0.0) * units.time_s,
        default_wire_load=None if wire_load is None else unquote(wire_load),
        left_out=tuple(left_out),
        warnings=tuple(warnings),
    )


def _corner(source: SourceText, library: Group, unit_v: float, warnings: list[str]) -> Corner:
    """Return the operating condition. `warnings` gets a sentence for what the library does not state.

    It is the default condition, the nominal one, or the only one.
    """
    wanted = unquote(library.attributes.get("default_operating_conditions", ""))
    groups = {unquote(g.args): g for g in library.groups if g.kind == "operating_conditions"}
    found = groups.get(wanted)
    voltage = read_number(source, library, "nom_voltage", math.nan) * unit_v
    temperature = read_number(source, library, "nom_temperature", math.nan)
    if found is None and math.isnan(voltage) and len(groups) == 1:
        wanted, found = next(iter(groups.items()))
    if found is not None:
        voltage = read_number(source, found, "voltage", voltage / unit_v) * unit_v
        temperature = read_number(source, found, "temperature", temperature)
    if math.isnan(voltage):
        mapped = [float(number) for number in _VOLTAGE_MAP.findall(source.text)]
        voltage = max(mapped) * unit_v if mapped else 1.0
        how = "the highest of its voltage_map is taken" if mapped else "1 V is taken, and energies are scaled from it"
        warnings.append(f"the library states no supply voltage (nom_voltage); {how}")
    if not _LEAST_V < voltage < _MOST_V:
        source.fail(library.offset, f"the supply voltage must be {_LEAST_V} to {_MOST_V} V, not {voltage:g} V")
    if math.isnan(temperature):
        temperature = 25.0
        warnings.append("the library states no temperature; 25 degrees Celsius are taken")
    name = wanted or unquote(library.args)
    return Corner(name, voltage, temperature, _process(found, name, unquote(library.args)))


def _slew_derate(source: SourceText, library: Group) -> float:
    derate = read_number(source, library, "slew_derate_from_library", 1.0)
    if derate <= 0:
        source.fail(library.offset, f"slew_derate_from_library must be above 0, not {derate:g}")
    return derate


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
