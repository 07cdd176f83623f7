"""The numbers of one job as one versioned record. `results.json` stores it, and every chart is drawn from it."""

from pathlib import Path

import msgspec

from haloquant.errors import MALFORMED, InputError

RESULTS_VERSION = 1


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the records below."""


class ClassRow(Record, frozen=True):
    """One class of tiles: its codebook, and the operating point at which every value of the codebook is in time."""

    name: str
    values: list[int]
    voltage_v: float
    frequency_hz: float
    slack_s: float


class ProfileRow(Record, frozen=True):
    """Delay and energy of the MAC for every weight value, at one corner."""

    name: str
    description: str
    corner: str
    weights: list[int]
    delay_s: list[float]
    energy_j: list[float]
    classes: list[ClassRow]
    best_mac: str = ""  # the shipped MAC at the same corner whose slowest weight value is fastest
    best_mac_period_s: float = 0.0
    delay_note: str = ""  # what its clocks rest on, if that is not the static delay


class CostRow(Record, frozen=True):
    """Time and energy of one method on one machine in one phase, split into parts."""

    target: str
    phase: str  # "prefill" or "decode"
    time_s: dict[str, float]
    energy_j: dict[str, float]
    transitions: int
    bound: dict[str, float] = {}  # for each bound the share of the busy time that it limited

    @property
    def total_time_s(self) -> float:
        """Return the sum of the parts of the time, in seconds."""
        return sum(self.time_s.values())

    @property
    def total_energy_j(self) -> float:
        """Return the sum of the parts of the energy, in joules."""
        return sum(self.energy_j.values())


class MethodRow(Record, frozen=True):
    """One quantization method on the model: stored bits, accuracy and cost."""

    name: str
    family: str  # "reference", "halo" or "rival"
    bits_per_weight: float
    perplexity: float  # weights quantized, activations in floating point
    perplexity_a8: float | None  # with rounded activations (`Results.activation_bits`), as an integer MAC needs them
    costs: list[CostRow]
    fast_fraction: float | None = None  # share of tiles in the fastest class
    notes: list[str] = []
    rise_error: float | None = None  # standard error over windows of `perplexity` minus full precision's
    bops: float | None = None  # bit operations of one token through the quantized layers; None without integers
    input_density: float | None = None  # share of the multiply-accumulates that tokens keep in `perplexity_a8`


class TileRow(Record, frozen=True):
    """The class and the sensitivity of each tile of one layer in one method, both indexed [down][across]."""

    method: str
    layer: str
    classes: list[list[int]]
    sensitivity: list[list[float]]


class ParetoRow(Record, frozen=True):
    """One point of the sweep from "all tiles slow" to "all tiles fast"."""

    fast_fraction: float
    perplexity: float
    time_s: float
    energy_j: float
    goal: str = ""


class SpanRow(Record, frozen=True):
    """A part of the schedule that runs at one operating point without interruption."""

    start_s: float
    end_s: float
    group: int
    class_name: str
    voltage_v: float
    frequency_hz: float


class GpuRow(Record, frozen=True):
    """One method on a graphics processor at one clock: a roofline model by stored bits, not a measurement."""

    target: str
    method: str
    phase: str
    weight_bits: float
    voltage_v: float
    frequency_hz: float
    time_s: float
    energy_per_token_j: float
    bound: str
    what_if: bool  # the clock is above the board's own
    # Blocks of the chip that must be faster at this clock, and whose paths no choice of weight values shortens.
    must_follow: list[str] = []
    switching_s: float = 0.0  # time of the transitions in one pass if each group of tiles had its own clock


class SweepRow(Record, frozen=True):
    """One method on one machine at one value of an uncertain quantity; everything else is unchanged."""

    method: str
    target: str
    phase: str
    swept: str
    unit: str
    value: float
    own: bool  # True if `value` is the one in the target's file
    time_s: float
    energy_j: float


class ElementRow(Record, frozen=True):
    """One system on the processing element that suits it best, at the area that all systems get in new silicon."""

    target: str
    phase: str
    system: str
    element: str
    columns: int  # of each array
    frequency_hz: list[float]  # of each class
    time_s: float
    energy_j: float
    bound: str  # what limits the speed for most of the time


class LeftOutRow(Record, frozen=True):
    """A system on an element of which not one column fits the area of the arrays."""

    system: str
    element: str
    least_area_mm2: float  # of all arrays with one column each
    whole_system: bool  # True for the smallest element of a system that no element fits


class NewSiliconRows(Record, frozen=True):
    """All systems at one area of the arrays of one machine. `plain` is the element whose clock is the base clock."""

    method: str  # the method that HALO's rows stand for
    target: str
    area_mm2: float
    plain: str
    rows: list[ElementRow]
    notes: list[str]
    left_out: list[LeftOutRow] = []


class Results(Record, frozen=True):
    """All numbers that one job computed."""

    version: int
    model: str
    parameters: int
    linear_weights: int
    evaluation: str  # a description of the text: its name, the number of tokens, a sample or all of it
    evaluation_tokens: int
    profile: ProfileRow
    methods: list[MethodRow]
    tiles: list[TileRow]
    pareto: list[ParetoRow]
    timeline: list[SpanRow]
    timeline_of: str
    provenance: dict[str, str]
    warnings: list[str] = []
    gpus: list[GpuRow] = []
    sweeps: list[SweepRow] = []
    pareto_of: str = ""
    notes: list[str] = []  # how the model was read, what stays in full precision, calibration windows that are missing
    new_silicon: list[NewSiliconRows] = []  # one for each machine that elements can be compared on
    activation_bits: int = 8
    low_bits: int = 0  # bits of the activations of a share of the tokens; 0 where all tokens have the same

    @property
    def activations(self) -> str:
        """The bits of rounded activations, such as "8", or "8/4" where a share of the tokens has fewer."""
        return f"{self.activation_bits}/{self.low_bits}" if self.low_bits else str(self.activation_bits)

    def method(self, name: str) -> MethodRow:
        """Return the row of the method with this name.

        Raises:
            InputError: There is no such method.
        """
        for row in self.methods:
            if row.name == name:
                return row
        raise InputError(f"the method must be one of {', '.join(r.name for r in self.methods)}, not {name}")


def encode_results(results: Results) -> bytes:
    """Return the results as indented JSON. Equal results give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(results, order="deterministic"), indent=1) + b"\n"


def decode_results(data: bytes, source: Path) -> Results:
    """Return the results that the JSON bytes hold; `source` names the file in error messages.

    Raises:
        InputError: The data has another structure or another version, or lists that belong together differ in length.
    """
    try:
        results = msgspec.json.decode(data, type=Results)
    except MALFORMED as error:
        raise InputError(f"{source} must be results of a haloquant run: {error}") from error
    if results.version != RESULTS_VERSION:
        raise InputError(
            f"{source} must be of results version {RESULTS_VERSION}, not {results.version}; run `haloquant run` again"
        )
    _check_profile(results.profile, source)
    for found in results.new_silicon:
        without = {left.system for left in found.left_out if left.whole_system}
        if "W8A8" in without:
            continue
        if {row.phase for row in found.rows} - {row.phase for row in found.rows if row.system == "W8A8"}:
            raise InputError(f"{source}: new_silicon of {found.target:.80} must have a row of W8A8 in every phase")
    for tile in results.tiles:
        _check_tiles(tile, len(results.profile.classes), source)
    return results


def _check_profile(profile: ProfileRow, source: Path) -> None:
    """Refuse tables without one number for each weight, and classes with values that the MAC's tables lack."""
    for name, values in (("delay_s", profile.delay_s), ("energy_j", profile.energy_j)):
        if len(values) != len(profile.weights):
            raise InputError(
                f"{source}: profile.{name} must have {len(profile.weights)} values, one for each weight, "
                f"not {len(values)}"
            )
    known = set(profile.weights)
    for row in profile.classes:
        if not known.issuperset(row.values):
            strange = next(value for value in row.values if value not in known)
            raise InputError(f"{source}: class {row.name:.80} must have words of profile.weights, not {strange}")


def _check_tiles(tile: TileRow, classes: int, source: Path) -> None:
    """Refuse a map of tiles that is not rectangular, or that lacks one class and one sensitivity for each tile."""
    across = len(tile.classes[0]) if tile.classes else 0
    if [len(row) for row in tile.classes] != [across] * len(tile.classes):
        raise InputError(f"{source}: tiles of {tile.layer:.80} must have rows of one length")
    if [len(row) for row in tile.sensitivity] != [across] * len(tile.classes):
        raise InputError(
            f"{source}: sensitivity of {tile.layer:.80} must have one value for each of {len(tile.classes)} x {across} "
            "tiles"
        )
    if any(not 0 <= number < classes for row in tile.classes for number in row):
        raise InputError(f"{source}: tiles of {tile.layer:.80} must have classes from 0 to {classes - 1}")
