"""The numbers of one job as one versioned record: what `results.json` holds and what every picture is drawn from."""

from pathlib import Path

import msgspec

from haloquant.errors import MALFORMED, InputError

RESULTS_VERSION = 1


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the records below."""


class ClassRow(Record, frozen=True):
    """One class of tiles: its codebook and the operating point all its values meet."""

    name: str
    values: list[int]
    voltage_v: float
    frequency_hz: float
    slack_s: float


class ProfileRow(Record, frozen=True):
    """The MAC by weight value, at one corner."""

    name: str
    description: str
    corner: str
    weights: list[int]
    delay_s: list[float]
    energy_j: list[float]
    classes: list[ClassRow]
    best_mac: str = ""  # of the shipped MACs at the same corner, the fastest that takes any weight value
    best_mac_period_s: float = 0.0


class CostRow(Record, frozen=True):
    """Time and energy of one method on one machine in one phase, by part."""

    target: str
    phase: str  # "prefill" or "decode"
    time_s: dict[str, float]
    energy_j: dict[str, float]
    transitions: int
    bound: dict[str, float] = {}  # share of time by the bound that held

    @property
    def total_time_s(self) -> float:
        """Sum of the parts of time."""
        return sum(self.time_s.values())

    @property
    def total_energy_j(self) -> float:
        """Sum of the parts of energy."""
        return sum(self.energy_j.values())


class MethodRow(Record, frozen=True):
    """One quantization method on the model: bits, accuracy, cost."""

    name: str
    family: str  # "reference", "halo" or "rival"
    bits_per_weight: float
    perplexity: float  # weights quantized, activations in floating point
    perplexity_a8: float | None  # with 8-bit activations, as a MAC array needs them
    costs: list[CostRow]
    fast_fraction: float | None = None  # share of tiles in the fastest class
    notes: list[str] = []
    rise_error: float | None = None  # standard error of `perplexity` less full precision's, window by window


class TileRow(Record, frozen=True):
    """The classes of one layer's tiles in one method: `classes[down][across]`, and the sensitivity behind them."""

    method: str
    layer: str
    classes: list[list[int]]
    sensitivity: list[list[float]]


class ParetoRow(Record, frozen=True):
    """One point of the sweep from all tiles slow to all tiles fast."""

    fast_fraction: float
    perplexity: float
    time_s: float
    energy_j: float
    goal: str = ""


class SpanRow(Record, frozen=True):
    """A stretch of the schedule at one operating point."""

    start_s: float
    end_s: float
    group: int
    class_name: str
    voltage_v: float
    frequency_hz: float


class GpuRow(Record, frozen=True):
    """One method on a graphics processor at one clock: a roofline by stored bits, not a measurement."""

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
    must_follow: list[str] = []  # blocks that weight values do not shorten and that such a clock would need faster
    switching_s: float = 0.0  # what the transitions of one pass would cost if clocks were switched per group


class SweepRow(Record, frozen=True):
    """One method on one machine at one value of an uncertain figure, all else equal."""

    method: str
    target: str
    phase: str
    swept: str
    unit: str
    value: float
    own: bool  # the target's own value
    time_s: float
    energy_j: float


class Results(Record, frozen=True):
    """Everything one job found."""

    version: int
    model: str
    parameters: int
    linear_weights: int
    evaluation: str  # which text, how many tokens, sample or whole
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

    def method(self, name: str) -> MethodRow:
        """The row of a method by name.

        Raises:
            InputError: there is no such method.
        """
        for row in self.methods:
            if row.name == name:
                return row
        raise InputError(f"the results hold {', '.join(r.name for r in self.methods)}, not {name}")


def encode(results: Results) -> bytes:
    """Results as indented JSON, the same bytes for the same numbers."""
    return msgspec.json.format(msgspec.json.encode(results, order="deterministic"), indent=1) + b"\n"


def decode(data: bytes, source: Path) -> Results:
    """Results from JSON.

    Raises:
        InputError: not JSON of this shape, of another version, or lists that belong together differ in length.
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
    for tile in results.tiles:
        _check_tiles(tile, len(results.profile.classes), source)
    return results


def _check_profile(profile: ProfileRow, source: Path) -> None:
    """Refuse figures that are not one for each weight, and classes of words that the MAC has no figures for."""
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
    """Refuse tiles that are no rectangle, or whose classes and sensitivities are not one for one."""
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
