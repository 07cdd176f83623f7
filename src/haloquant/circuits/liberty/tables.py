"""The numbers of a Liberty file: attributes, units, and look-up tables over input slew and output load in SI units."""

import math
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from haloquant.circuits.liberty.syntax import Group, SourceText, unquote
from haloquant.circuits.liberty.table_interpolation import Table

_PREFIX = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15, "a": 1e-18, "k": 1e3}
_UNIT = re.compile(r"\s*([0-9.]{0,12}(?:(?<=[0-9.])e[+-]?[0-9]{1,2})?)\s*([munpfak]?)(s|v|w|f|a|ohm)\s*", re.IGNORECASE)
_ROW = frozenset({"input_net_transition", "input_transition_time", "related_pin_transition"})
_COLUMN = frozenset(
    {"total_output_net_capacitance", "constrained_pin_transition", "equal_or_opposite_output_net_capacitance"}
)


@dataclass(frozen=True, slots=True)
class Units:
    """The size of each of the file's units in SI units."""

    time_s: float
    capacitance_f: float
    voltage_v: float
    leakage_w: float

    @property
    def energy_j(self) -> float:
        """The unit of internal power: capacitance times voltage squared (Liberty User Guide, "internal_power")."""
        return self.capacitance_f * self.voltage_v**2


class TableReader:
    """Reads the tables of one library. Tables with equal axes share the arrays of the axes."""

    def __init__(self, source: SourceText, library: Group, units: Units) -> None:
        """Collect the table templates of `library`."""
        self.source, self.units = source, units
        self.templates = {
            unquote(group.args): group
            for group in library.groups
            if group.kind in ("lu_table_template", "power_lut_template")
        }
        self._axes: dict[tuple[str, float], Float64[np.ndarray, " n"]] = {}

    def read(self, group: Group, value_unit: float) -> Table:
        """Return the table of one group, e.g. `cell_rise (template) { ... }`.

        Args:
            group: the group.
            value_unit: the factor that converts the values to SI units.

        Raises:
            LibertyError: For an unknown template or axis, a wrong count of values, an axis that does not ascend, or a
                value that is not a finite number. The message gives the line.
        """
        name = unquote(group.args)
        template = self.templates.get(name)
        if template is None and name != "scalar":
            self.source.fail(
                group.offset, f"{group.kind} must name a table template of the library or 'scalar', not {name!r}"
            )
        axes = [self._axis(group, template, i) for i in (1, 2, 3)] if template else []
        axes = [axis for axis in axes if axis is not None]
        raw = group.attributes.get("values")
        if raw is None:
            self.source.fail(group.offset, f"{group.kind} must have values, but they are missing")
        values = self._numbers(group, "values", raw) * value_unit
        shape = tuple(len(axis) for _, axis in axes)
        if values.size != math.prod(shape):
            shown = " x ".join(str(n) for n in shape) or "one value"
            self.source.fail(group.offset, f"{group.kind} must have {shown} values, not {values.size}")
        return self._normal(group, axes, values.reshape(shape))

    def _normal(
        self, group: Group, axes: list[tuple[str, Float64[np.ndarray, " n"]]], values: Float64[np.ndarray, "..."]
    ) -> Table:
        zero = np.zeros(1)
        kinds = [("row" if kind in _ROW else "column" if kind in _COLUMN else kind) for kind, _ in axes]
        match kinds:
            case []:
                return Table(zero, zero, values.reshape(1, 1))
            case ["row"]:
                return Table(axes[0][1], zero, values[:, None])
            case ["column"]:
                return Table(zero, axes[0][1], values[None, :])
            case ["row", "column"]:
                return Table(axes[0][1], axes[1][1], values)
            case ["column", "row"]:
                return Table(axes[1][1], axes[0][1], np.ascontiguousarray(values.T))
            case _:
                named = ", ".join(kind for kind, _ in axes)
                self.source.fail(
                    group.offset,
                    f"{group.kind} must be a table over input transition and output load, not over {named}",
                )

    def _axis(self, group: Group, template: Group, i: int) -> tuple[str, Float64[np.ndarray, " n"]] | None:
        kind = template.attributes.get(f"variable_{i}")
        if kind is None:
            return None
        kind = unquote(kind)
        name = f"index_{i}"
        raw = group.attributes.get(name, template.attributes.get(name))
        if raw is None:
            self.source.fail(group.offset, f"{group.kind} must have {name}, itself or in its template, but has none")
        unit = self.units.capacitance_f if kind.endswith("capacitance") else self.units.time_s
        axis = self._axes.get((raw, unit))
        if axis is None:
            axis = self._numbers(group, name, raw) * unit
            if (np.diff(axis) <= 0).any():
                self.source.fail(group.offset, f"{name} of {group.kind} must ascend, not {raw.strip()[:60]}")
            self._axes[raw, unit] = axis
        return kind, axis

    def _numbers(self, group: Group, name: str, raw: str) -> Float64[np.ndarray, " n"]:
        words = raw.translate(_SEPARATORS).split()
        try:
            numbers = np.array([float(word) for word in words])
        except ValueError:
            bad = next(word for word in words if not _is_number(word))
            self.source.fail(group.offset, f"{name} of {group.kind} must be numbers, not {bad[:40]!r}")
        if not numbers.size or not np.isfinite(numbers).all():
            self.source.fail(group.offset, f"{name} of {group.kind} must be finite numbers, not {raw.strip()[:60]!r}")
        return numbers


_SEPARATORS = str.maketrans({'"': " ", ",": " ", "\\": " ", "_": "?"})


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_number(source: SourceText, group: Group, name: str, default: float) -> float:
    """Return the number in an attribute of a group, or `default` if the group lacks the attribute.

    Raises:
        LibertyError: If the attribute is not a finite number; the message gives the line.
    """
    raw = group.attributes.get(name)
    if raw is None:
        return default
    try:
        number = float(unquote(raw))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        shown = unquote(raw)[:40]
        source.fail(
            group.offset, f"{name} of {group.kind} ({unquote(group.args)}) must be a finite number, not {shown!r}"
        )
    return number


def read_units(source: SourceText, library: Group) -> Units:
    """Return the units of the library. Undeclared units are 1 ns, 1 pF, 1 V and 1 nW, the defaults of Liberty.

    Raises:
        LibertyError: If a unit cannot be read; the message gives the line.
    """
    raw = library.attributes.get("capacitive_load_unit", "1, pf")
    return Units(
        time_s=_unit(source, library, "time_unit", "1ns"),
        capacitance_f=_scale(source, library, "capacitive_load_unit", raw),
        voltage_v=_unit(source, library, "voltage_unit", "1V"),
        leakage_w=_unit(source, library, "leakage_power_unit", "1nW"),
    )


def _unit(source: SourceText, library: Group, name: str, default: str) -> float:
    return _scale(source, library, name, unquote(library.attributes.get(name, default)))


def _scale(source: SourceText, library: Group, name: str, raw: str) -> float:
    found = _UNIT.fullmatch(raw.translate(_SEPARATORS))
    try:
        scale = float(found[1] or 1) * _PREFIX[found[2].lower()] if found else 0.0
    except ValueError:
        scale = 0.0
    if scale <= 0:
        source.fail(library.offset, f"{name} must be a unit such as '1ns' or (1, ff), not {raw.strip()[:40]!r}")
    return scale
