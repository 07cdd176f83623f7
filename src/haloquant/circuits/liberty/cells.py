"""Conversion of the cell groups of a Liberty file to `Cell` records."""

from collections.abc import Iterator, Sequence

from haloquant.circuits.liberty.boolean_functions import BooleanFunction, parse_function
from haloquant.circuits.liberty.records import Cell, Constraint, InternalPower, Leakage, Pin, Register, TimingArc
from haloquant.circuits.liberty.syntax import Group, SourceText, unquote
from haloquant.circuits.liberty.table_interpolation import Table
from haloquant.circuits.liberty.tables import TableReader, Units, read_number
from haloquant.errors import LibertyError

_SENSES = frozenset({"positive_unate", "negative_unate", "non_unate"})
_DELAYS = frozenset({"combinational", "combinational_rise", "combinational_fall", "rising_edge", "falling_edge"})
_CHECKS = frozenset({"setup_rising", "setup_falling", "hold_rising", "hold_falling"})
_DIRECTIONS = frozenset({"input", "output", "inout", "internal"})


class CellReader:
    """Converts the cell groups of one library to records."""

    def __init__(self, source: SourceText, library: Group, units: Units) -> None:
        """Read the default values of `library`."""
        self.source, self.library, self.units = source, library, units
        self.tables = TableReader(source, library, units)
        self.default_leakage = self._number(library, "default_cell_leakage_power", 0.0)
        self.default_capacitance = {
            kind: self._number(library, f"default_{kind}_pin_cap", 0.0) for kind in ("input", "output", "inout")
        }

    def cell(self, group: Group) -> Cell:
        """Return the record of one cell. A cell with timing other than NLDM keeps only the arcs that could be read.

        Raises:
            LibertyError: If the group is malformed; the message gives the line.
        """
        pins: list[Pin] = []
        arcs: list[TimingArc] = []
        constraints: list[Constraint] = []
        powers: list[InternalPower] = []
        for pin_group in (g for g in group.groups if g.kind == "pin"):
            for name in _names(pin_group.args):
                pin = self._pin(pin_group, name)
                pins.append(pin)
                for inner in pin_group.groups:
                    if inner.kind == "timing":
                        self._timing(inner, pin, arcs, constraints)
                    elif inner.kind == "internal_power":
                        powers.extend(self._powers(inner, name))
        names = [pin.name for pin in pins]
        if len(set(names)) < len(names):
            self.source.fail(group.offset, f"cell {unquote(group.args)} must name each pin once, not {sorted(names)}")
        leakage = self._leakage([g for g in group.groups if g.kind == "leakage_power"])
        return Cell(
            name=unquote(group.args),
            area_m2=self._not_negative(group, "area") * 1e-12,  # square micrometres, by convention
            leakage_w=self._number(group, "cell_leakage_power", self.default_leakage) * self.units.leakage_w,
            leakage=leakage,
            pins=tuple(pins),
            arcs=tuple(arcs),
            constraints=tuple(constraints),
            powers=tuple(powers),
            register=next((self._register(g) for g in group.groups if g.kind == "ff"), None),
            latch=any(g.kind in ("latch", "statetable", "latch_bank", "ff_bank") for g in group.groups),
            dont_use=unquote(group.attributes.get("dont_use", "false")) == "true",
        )

    def _pin(self, group: Group, name: str) -> Pin:
        direction = unquote(group.attributes.get("direction", "input"))
        if direction not in _DIRECTIONS:
            self.source.fail(group.offset, f"direction of pin {name} must be input, output or inout, not {direction!r}")
        default = self.default_capacitance.get(direction, 0.0)
        capacitance = self._not_negative(group, "capacitance", default)
        unit = self.units.capacitance_f
        return Pin(
            name=name,
            direction=direction,
            rise_capacitance_f=self._not_negative(group, "rise_capacitance", capacitance) * unit,
            fall_capacitance_f=self._not_negative(group, "fall_capacitance", capacitance) * unit,
            capacitance_f=capacitance * unit,
            function=self._function(group, "function"),
            three_state=self._function(group, "three_state"),
            clock=unquote(group.attributes.get("clock", "false")) == "true",
            max_transition_s=self._optional(group, "max_transition", self.units.time_s),
            max_capacitance_f=self._optional(group, "max_capacitance", unit),
        )

    def _timing(self, group: Group, pin: Pin, arcs: list[TimingArc], constraints: list[Constraint]) -> None:
        kind = unquote(group.attributes.get("timing_type", "combinational"))
        if kind not in _DELAYS and kind not in _CHECKS:
            return  # recovery, removal, pulse width, three-state, clear, preset: no path of a MAC has them
        when = self._function(group, "when")
        tables = self._tables(group, self.units.time_s)
        related = _names(group.attributes.get("related_pin", ""))
        if not related:
            self.source.fail(group.offset, f"timing of pin {pin.name} must have a related_pin, but has none")
        for name in related:
            if kind in _CHECKS:
                rise, fall = tables.get("rise_constraint"), tables.get("fall_constraint")
                constraints.append(Constraint(pin.name, name, kind, when, rise, fall))
            else:
                arcs.append(
                    TimingArc(
                        pin=pin.name,
                        related=name,
                        kind=kind,
                        sense=self._sense(group, pin, name, kind),
                        when=when,
                        cell_rise=tables.get("cell_rise"),
                        cell_fall=tables.get("cell_fall"),
                        rise_transition=tables.get("rise_transition"),
                        fall_transition=tables.get("fall_transition"),
                    )
                )

    def _sense(self, group: Group, pin: Pin, related: str, kind: str) -> str:
        raw = group.attributes.get("timing_sense")
        if raw is not None:
            sense = unquote(raw)
            if sense not in _SENSES:
                self.source.fail(group.offset, f"timing_sense must be one of {sorted(_SENSES)}, not {sense!r}")
            return sense
        if pin.function is None or related not in pin.function.inputs or kind in ("rising_edge", "falling_edge"):
            return "non_unate"
        return function_sense(pin.function, related)

    def _powers(self, group: Group, pin: str) -> Iterator[InternalPower]:
        tables = self._tables(group, self.units.energy_j)
        both = tables.get("power")
        when = self._function(group, "when")
        for related in _names(group.attributes.get("related_pin", "")) or [None]:
            yield InternalPower(pin, related, when, tables.get("rise_power", both), tables.get("fall_power", both))

    def _leakage(self, groups: Sequence[Group]) -> tuple[Leakage, ...]:
        """Return one entry for each condition, with the power of all its supplies.

        A library with several supply pins has one group for each of them (`related_pg_pin`), in ASAP7 the ground pin
        among them. Of two groups with equal condition and supply the last counts.
        """
        power: dict[str, dict[str, float]] = {}
        when: dict[str, BooleanFunction | None] = {}
        for group in groups:
            condition = unquote(group.attributes.get("when", ""))
            supply = unquote(group.attributes.get("related_pg_pin", ""))
            value = self._number(group, "value", 0.0) * self.units.leakage_w
            power.setdefault(condition, {})[supply] = value
            when[condition] = self._function(group, "when")
        return tuple(Leakage(sum(supplies.values()), when[text]) for text, supplies in power.items())

    def _register(self, group: Group) -> Register:
        names = _names(group.args)
        clocked_on, next_state = self._function(group, "clocked_on"), self._function(group, "next_state")
        if len(names) != 2 or clocked_on is None or next_state is None:
            self.source.fail(group.offset, "ff must name two state variables, clocked_on and next_state")
        return Register(
            state=names[0],
            inverted=names[1],
            clocked_on=clocked_on,
            next_state=next_state,
            clear=self._function(group, "clear"),
            preset=self._function(group, "preset"),
        )

    def _tables(self, group: Group, unit: float) -> dict[str, Table]:
        return {g.kind: self.tables.read(g, unit) for g in group.groups if g.kind in _TABLES}

    def _function(self, group: Group, name: str) -> BooleanFunction | None:
        raw = group.attributes.get(name)
        if raw is None or not (text := unquote(raw)):
            return None
        try:
            return parse_function(text)
        except LibertyError as error:
            self.source.fail(group.offset, f"{name} of {group.kind} ({unquote(group.args)}): {error}")

    def _number(self, group: Group, name: str, default: float) -> float:
        return read_number(self.source, group, name, default)

    def _not_negative(self, group: Group, name: str, default: float = 0.0) -> float:
        value = self._number(group, name, default)
        if value < 0:
            where = f"{group.kind} ({unquote(group.args)})"
            self.source.fail(group.offset, f"{name} of {where} must be at least 0, not {value:g}")
        return value

    def _optional(self, group: Group, name: str, unit: float) -> float | None:
        return self._number(group, name, 0.0) * unit if name in group.attributes else None


_TABLES = frozenset(
    {
        "cell_rise",
        "cell_fall",
        "rise_transition",
        "fall_transition",
        "rise_constraint",
        "fall_constraint",
        "rise_power",
        "fall_power",
        "power",
    }
)


def function_sense(function: BooleanFunction, pin: str) -> str:
    """Return the sense of one input of a function, computed from the truth table.

    Returns:
        "positive_unate", "negative_unate" or "non_unate"; "non_unate" also if the input has no influence.
    """
    i = function.inputs.index(pin)
    table = function.table().reshape(-1, 2, 1 << i)
    rises, falls = bool((table[:, 1] > table[:, 0]).any()), bool((table[:, 1] < table[:, 0]).any())
    if rises == falls:
        return "non_unate"
    return "positive_unate" if rises else "negative_unate"


def _names(raw: str) -> list[str]:
    return raw.replace('"', " ").replace(",", " ").split()
