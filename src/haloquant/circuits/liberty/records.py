"""The records of a cell library, in SI units. `parse_liberty` makes them; static timing and simulation read them."""

from collections.abc import Mapping
from dataclasses import dataclass

from haloquant.circuits.liberty.boolean_functions import BooleanFunction
from haloquant.circuits.liberty.table_interpolation import Table
from haloquant.records import Corner


@dataclass(frozen=True, eq=False, slots=True)
class Pin:
    """A signal pin of a cell."""

    name: str
    direction: str  # "input", "output", "inout" or "internal"
    rise_capacitance_f: float
    fall_capacitance_f: float
    capacitance_f: float
    function: BooleanFunction | None = None  # outputs only: over the cell's input pins, or over its state variables
    three_state: BooleanFunction | None = None  # the output floats when this is true
    clock: bool = False
    max_transition_s: float | None = None
    max_capacitance_f: float | None = None


@dataclass(frozen=True, eq=False, slots=True)
class TimingArc:
    """The delay from an edge of pin `related` to an edge of pin `pin`. The tables are named after the edge of `pin`."""

    pin: str
    related: str
    kind: str  # timing_type: "combinational", "rising_edge" ...
    sense: str  # "positive_unate", "negative_unate" or "non_unate"
    when: BooleanFunction | None
    cell_rise: Table | None
    cell_fall: Table | None
    rise_transition: Table | None
    fall_transition: Table | None


@dataclass(frozen=True, eq=False, slots=True)
class Constraint:
    """The time that `pin` must be stable before (setup) or after (hold) the active edge of `related`."""

    pin: str
    related: str
    kind: str  # "setup_rising", "setup_falling", "hold_rising", "hold_falling"
    when: BooleanFunction | None
    rise: Table | None  # for the rising edge of `pin`
    fall: Table | None  # for its falling edge


@dataclass(frozen=True, eq=False, slots=True)
class InternalPower:
    """The energy (J) that a cell dissipates inside per edge of `pin`, by the slew of `related` and the output load.

    If `pin` is an input, `related` is None and the table's axis is the slew of `pin`. The energy may be negative,
    because a library subtracts the energy that is counted at the load.
    """

    pin: str
    related: str | None
    when: BooleanFunction | None
    rise: Table | None
    fall: Table | None


@dataclass(frozen=True, eq=False, slots=True)
class Leakage:
    """The static power while `when` is true; if `when` is None, always."""

    power_w: float
    when: BooleanFunction | None


@dataclass(frozen=True, eq=False, slots=True)
class Register:
    """An edge-triggered flip-flop. On the active edge of `clocked_on`, `state` takes the value of `next_state`."""

    state: str  # the variable in the functions of the outputs, e.g. "IQ"
    inverted: str  # the variable of its complement, e.g. "IQN"
    clocked_on: BooleanFunction
    next_state: BooleanFunction
    clear: BooleanFunction | None
    preset: BooleanFunction | None


@dataclass(frozen=True, eq=False, slots=True)
class Cell:
    """A standard cell."""

    name: str
    area_m2: float
    leakage_w: float  # `cell_leakage_power`, or else the library's default
    leakage: tuple[Leakage, ...]
    pins: tuple[Pin, ...]
    arcs: tuple[TimingArc, ...]
    constraints: tuple[Constraint, ...]
    powers: tuple[InternalPower, ...]
    register: Register | None = None
    latch: bool = False  # also true for cells that are described by a state table
    dont_use: bool = False

    @property
    def inputs(self) -> tuple[Pin, ...]:
        """The input pins in the order of the library."""
        return tuple(pin for pin in self.pins if pin.direction == "input")

    @property
    def outputs(self) -> tuple[Pin, ...]:
        """The output pins in the order of the library."""
        return tuple(pin for pin in self.pins if pin.direction == "output")

    def pin(self, name: str) -> Pin:
        """Return the pin of this name.

        Raises:
            KeyError: If the cell has no such pin.
        """
        for pin in self.pins:
            if pin.name == name:
                return pin
        raise KeyError(name)


@dataclass(frozen=True, eq=False, slots=True)
class Library:
    """A cell library at one corner.

    Thresholds are fractions of the supply voltage, given as (rise, fall). A delay is measured from `input_threshold` to
    `output_threshold`. A slew is measured from `slew_lower` to `slew_upper` and divided by `slew_derate`.
    """

    name: str
    source: str
    corner: Corner
    cells: Mapping[str, Cell]
    input_threshold: tuple[float, float]
    output_threshold: tuple[float, float]
    slew_lower: tuple[float, float]
    slew_upper: tuple[float, float]
    slew_derate: float
    default_max_transition_s: float | None
    default_wire_load: str | None
    left_out: tuple[int, ...] = ()  # start and end, in the text, of every cell that was left out, one after another
    warnings: tuple[str, ...] = ()
