"""What a cell library says, in SI units. `parse_liberty` makes these; static timing and simulation read them."""

from collections.abc import Mapping
from dataclasses import dataclass

from haloquant.circuits.liberty.boolean_functions import Function
from haloquant.circuits.liberty.nldm import Table
from haloquant.records import Corner


@dataclass(frozen=True, eq=False, slots=True)
class Pin:
    """A signal pin of a cell."""

    name: str
    direction: str  # "input", "output", "inout" or "internal"
    rise_capacitance_f: float
    fall_capacitance_f: float
    capacitance_f: float
    function: Function | None = None  # of an output: of the cell's input pins, or of its state variables
    three_state: Function | None = None  # the output floats where this is true
    clock: bool = False
    max_transition_s: float | None = None
    max_capacitance_f: float | None = None


@dataclass(frozen=True, eq=False, slots=True)
class TimingArc:
    """Delay from one edge of pin `related` to one of pin `pin`. The tables are named after the output's edge."""

    pin: str
    related: str
    kind: str  # timing_type: "combinational", "rising_edge" ...
    sense: str  # "positive_unate", "negative_unate" or "non_unate"
    when: Function | None
    cell_rise: Table | None
    cell_fall: Table | None
    rise_transition: Table | None
    fall_transition: Table | None


@dataclass(frozen=True, eq=False, slots=True)
class Constraint:
    """How long `pin` must be stable before (setup) or after (hold) the active edge of `related`."""

    pin: str
    related: str
    kind: str  # "setup_rising", "setup_falling", "hold_rising", "hold_falling"
    when: Function | None
    rise: Table | None  # of the constrained pin's rising edge
    fall: Table | None


@dataclass(frozen=True, eq=False, slots=True)
class InternalPower:
    """Energy per edge (J) that a cell dissipates inside when `pin` switches, by the slew of `related` and the load.

    An input's own table has `related` None, and its axis is that pin's slew. May be negative: a library subtracts the
    energy that the load already counts.
    """

    pin: str
    related: str | None
    when: Function | None
    rise: Table | None
    fall: Table | None


@dataclass(frozen=True, eq=False, slots=True)
class Leakage:
    """Static power while `when` holds (always, where it is None)."""

    power_w: float
    when: Function | None


@dataclass(frozen=True, eq=False, slots=True)
class Register:
    """An edge-triggered flip-flop: on the active edge of `clocked_on`, `state` takes `next_state`."""

    state: str  # variable that output functions name, e.g. "IQ"
    inverted: str  # its complement, e.g. "IQN"
    clocked_on: Function
    next_state: Function
    clear: Function | None
    preset: Function | None


@dataclass(frozen=True, eq=False, slots=True)
class Cell:
    """A standard cell."""

    name: str
    area_m2: float
    leakage_w: float  # cell_leakage_power, or the library's default
    leakage: tuple[Leakage, ...]
    pins: tuple[Pin, ...]
    arcs: tuple[TimingArc, ...]
    constraints: tuple[Constraint, ...]
    powers: tuple[InternalPower, ...]
    register: Register | None = None
    latch: bool = False  # level-sensitive, or described by a state table
    dont_use: bool = False

    @property
    def inputs(self) -> tuple[Pin, ...]:
        """Input pins in the library's order."""
        return tuple(pin for pin in self.pins if pin.direction == "input")

    @property
    def outputs(self) -> tuple[Pin, ...]:
        """Output pins in the library's order."""
        return tuple(pin for pin in self.pins if pin.direction == "output")

    def pin(self, name: str) -> Pin:
        """The pin of that name.

        Raises:
            KeyError: where the cell has no such pin.
        """
        for pin in self.pins:
            if pin.name == name:
                return pin
        raise KeyError(name)


@dataclass(frozen=True, eq=False, slots=True)
class Library:
    """A cell library at one corner.

    The thresholds are fractions of the supply: a delay runs from `input_threshold` to `output_threshold`, a slew from
    `slew_lower` to `slew_upper` (divided by `slew_derate`), as rise and fall.
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
