"""The nouns: every value that crosses from one stage to another. Frozen, SI units, shapes in the annotation.

Axis names: `w` weight values, `corner` process-voltage-temperature corners, `out`/`in` features of a linear
layer (y = W x, W is [out, in]), `down`/`across` tiles along out and along in, `codes` words of a codebook.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from jaxtyping import Float32, Float64, Int, Int8, Int16, Int32, UInt8

# --- the MAC ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Corner:
    """One process, voltage and temperature at which a cell library was characterised."""

    name: str
    voltage_v: float
    temperature_c: float
    process: str = "tt"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A supply voltage and a clock."""

    voltage_v: float
    frequency_hz: float

    @property
    def period_s(self) -> float:
        """One clock period."""
        return 1.0 / self.frequency_hz


@dataclass(frozen=True)
class MacProfile:
    """What the value of the stationary weight does to one multiply-accumulate unit.

    `delay_s` is static: the longest path that constant propagation of the weight leaves. `sensitised_delay_s` is the
    longest path that an activation transition really toggles (never above `delay_s`), NaN where it was not simulated.
    `energy_j` is switching plus internal energy of one operation, mean over activation transitions, leakage excluded.
    """

    name: str
    description: str
    weights: Int16[np.ndarray, " w"]  # ascending
    corners: tuple[Corner, ...]
    delay_s: Float64[np.ndarray, "corner w"]
    sensitised_delay_s: Float64[np.ndarray, "corner w"]
    energy_j: Float64[np.ndarray, "corner w"]
    leakage_w: Float64[np.ndarray, " corner"]
    area_m2: float
    activation_bits: int = 8
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])


# --- codebooks and tiles ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Codebook:
    """The weight values a tile may use, and the operating point at which all of them meet timing."""

    name: str  # the class: "fast", "slow", "base" ...
    values: Int16[np.ndarray, " codes"]  # ascending, 0 included
    point: OperatingPoint
    slack_s: float  # period - slowest value's delay - margin, >= 0 by construction


@dataclass(frozen=True, slots=True)
class TileGrid:
    """How a weight matrix is cut into array-sized blocks; the last row and column of tiles may be cut short."""

    out_features: int
    in_features: int
    tile_out: int  # columns C of a weight-stationary array
    tile_in: int  # rows R of the array, the direction of accumulation

    @property
    def down(self) -> int:
        """Number of tiles along the output features."""
        return -(-self.out_features // self.tile_out)

    @property
    def across(self) -> int:
        """Number of tiles along the input features."""
        return -(-self.in_features // self.tile_in)


@dataclass(frozen=True)
class TileMap:
    """The class (index into a tuple of codebooks) of every tile of one layer."""

    layer: str
    grid: TileGrid
    codebook: UInt8[np.ndarray, "down across"]


class SparseKind(IntEnum):
    """Why a weight is kept in the sparse part."""

    OUTLIER = 0
    SALIENT = 1


@dataclass(frozen=True)
class SparseWeights:
    """The few weights kept in 8 bits beside the dense part, sorted by row, then column.

    The weight's value is `values * scale[rows]`; the dense part holds the word 0 at these places.
    """

    rows: Int32[np.ndarray, " nnz"]
    cols: Int32[np.ndarray, " nnz"]
    values: Int8[np.ndarray, " nnz"]
    scale: Float32[np.ndarray, " out"]
    kind: UInt8[np.ndarray, " nnz"]


@dataclass(frozen=True)
class QuantizedWeight:
    """One linear layer in HALO form: `quant.weight.dequantize` is its meaning.

    W[o, i] = codebooks[class of tile (o, i)].values[codes[o, i]] * scale[o, i // tile_in] + sparse[o, i].
    Scales are representable in float16 (they are stored so) and may be negative.
    """

    layer: str
    codes: UInt8[np.ndarray, "out in"]
    scale: Float32[np.ndarray, "out across"]
    tiles: TileMap
    codebooks: tuple[Codebook, ...]
    sparse: SparseWeights


@dataclass(frozen=True, slots=True)
class BitCount:
    """Stored bits of one or more layers, by what they store. Adds; `per_weight` is the honest figure."""

    weights: int = 0  # number of weights, padding excluded
    codes: int = 0
    scales: int = 0  # scales and zero points
    sparse: int = 0  # values, indices, row pointers, kinds
    codebooks: int = 0  # tables and class maps
    branches: int = 0  # low-rank or feedback side branches

    def __add__(self, other: "BitCount") -> "BitCount":
        return BitCount(
            self.weights + other.weights,
            self.codes + other.codes,
            self.scales + other.scales,
            self.sparse + other.sparse,
            self.codebooks + other.codebooks,
            self.branches + other.branches,
        )

    @property
    def total(self) -> int:
        """All stored bits."""
        return self.codes + self.scales + self.sparse + self.codebooks + self.branches

    @property
    def per_weight(self) -> float:
        """Effective bits per weight of everything stored."""
        return self.total / self.weights


@dataclass(frozen=True)
class LayerResult:
    """What any quantization method, ours or a rival's, makes of one linear layer.

    `mac_values` are the integers the MAC array multiplies with (so that a rival is clocked and charged by the same
    profile); None where the method needs a floating-point multiplier.
    """

    layer: str
    weight: Float32[np.ndarray, "out in"]  # what the layer computes with
    bits: BitCount
    mac_values: Int16[np.ndarray, "out in"] | None = None
    quantized: QuantizedWeight | None = None
    notes: tuple[str, ...] = ()


# --- calibration -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerStatistics:
    """What calibration knows of one linear layer. Absent parts are None, and `source` says how they were made.

    `fisher` is the mean squared gradient per weight; `hessian` is (2/T) sum over T tokens of x x^T; `input_absmean` and
    `input_absmax` are per input feature, over the same tokens.
    """

    layer: str
    tokens: int
    fisher: Float32[np.ndarray, "out in"] | None = None
    hessian: Float32[np.ndarray, "in in"] | None = None
    input_absmean: Float32[np.ndarray, " in"] | None = None
    input_absmax: Float32[np.ndarray, " in"] | None = None
    source: str = "none"


# --- workload, schedule, cost ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gemm:
    """One matrix product of a forward pass: [m, k] x [k, n], `count` times over (heads, experts, batch)."""

    layer: str
    m: int  # tokens
    k: int  # in features
    n: int  # out features
    group: int  # dependency group: layers of one group may run in any order, groups run one after the other
    count: int = 1
    weight_stationary: bool = True  # False for attention scores and values, whose operands are both activations


@dataclass(frozen=True)
class LayerTiles:
    """What the accelerator needs to know of one quantized layer.

    `histogram[d, a, v]` counts how often weight value `values[v]` stands in tile (d, a); padding counts as 0.
    """

    layer: str
    grid: TileGrid
    classes: UInt8[np.ndarray, "down across"]
    values: Int16[np.ndarray, " v"]
    histogram: Int[np.ndarray, "down across v"]
    sparse_nnz: int
    bits: BitCount


@dataclass(frozen=True, slots=True)
class TileRun:
    """Tiles of one layer, one after the other, as (down, across). Layers with equal tile maps share `places`."""

    layer: int
    places: Int32[np.ndarray, "n 2"]


@dataclass(frozen=True)
class Phase:
    """A stretch of tiles of one dependency group at one operating point.

    `whole` names layers without a tile map that run entirely in this phase: attention, whose operands are both
    activations, and layers that were not quantized. `arrays` is the half-open range of arrays that run it; (0, 0) is
    all of them. Neighbours of one group on disjoint ranges run at the same time.
    """

    group: int
    point: OperatingPoint
    runs: tuple[TileRun, ...]
    whole: tuple[int, ...] = ()
    arrays: tuple[int, int] = (0, 0)

    @property
    def tiles(self) -> Int32[np.ndarray, "n 3"]:
        """Every tile as (layer index, down, across), in order."""
        rows = [np.insert(run.places, 0, run.layer, axis=1) for run in self.runs]
        return np.concatenate([np.empty((0, 3), np.int32), *rows])


@dataclass(frozen=True)
class Schedule:
    """Phases in order of execution. A transition happens wherever two neighbours differ in their point.

    `row_blocks` says into how many blocks of activation rows a group is cut so that its partial sums fit the
    accumulators (1 where it is not named): the group's phases run forth, then back, then forth, once per block.
    `phases` is what the planner makes, a `phases.PhaseTable`, or any phases listed one by one.
    """

    layers: tuple[str, ...]
    phases: Sequence[Phase]
    transitions: int
    policy: str
    row_blocks: Mapping[int, int] = field(default_factory=dict[int, int])


@dataclass(frozen=True)
class Cost:
    """Time and energy of a run. Adds, and keeps its parts; a bare total is never stored.

    `time_s` parts: compute (array busy and critical), dram, sram, spmv (the bound that held), fill, transition.
    `energy_j` parts: mac, spmv, sram, accumulator, dram, leakage, dvfs.
    """

    time_s: Mapping[str, float]
    energy_j: Mapping[str, float]
    cycles: int
    transitions: int

    @property
    def total_time_s(self) -> float:
        """Sum of all parts of time."""
        return sum(self.time_s.values())

    @property
    def total_energy_j(self) -> float:
        """Sum of all parts of energy."""
        return sum(self.energy_j.values())

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            _add(self.time_s, other.time_s),
            _add(self.energy_j, other.energy_j),
            self.cycles + other.cycles,
            self.transitions + other.transitions,
        )


def _add(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {key: a.get(key, 0.0) + b.get(key, 0.0) for key in [*a, *(k for k in b if k not in a)]}
