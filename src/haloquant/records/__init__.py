"""Frozen records that one stage passes to the next, one module per subject. Field names end in their SI unit.

`mac` describes the MAC unit, `statistics` the results of calibration, `tiles` a quantized layer, `accounting` its
stored bits, `workload` the matrix products of a pass, `schedule` and `phases` the order of tiles and clocks, `cost`
time and energy, `operator_costs` measured products, `mixed_activations` the bits of tokens. `layer_names` is the table
of the linear layers of every model family.

Axis names in shapes: `w` weight values, `corner` process-voltage-temperature corners, `out`/`in` features of a linear
layer (y = W x, W is [out, in]), `down`/`across` tiles along out and along in, `codes` words of a codebook.
"""

from haloquant.records.accounting import BitCount, LayerResult
from haloquant.records.cost import Cost
from haloquant.records.mac import Codebook, Corner, MacProfile, OperatingPoint
from haloquant.records.schedule import Phase, Schedule, TileRun
from haloquant.records.statistics import STATISTICS_ARRAYS, CalibrationDtype, LayerStatistics, Trained, ValueHessian
from haloquant.records.tiles import QuantizedWeight, SparseKind, SparseWeights, TileGrid, TileMap
from haloquant.records.workload import Gemm, InputBits, LayerTiles

__all__ = [
    "STATISTICS_ARRAYS",
    "BitCount",
    "CalibrationDtype",
    "Codebook",
    "Corner",
    "Cost",
    "Gemm",
    "InputBits",
    "LayerResult",
    "LayerStatistics",
    "LayerTiles",
    "MacProfile",
    "OperatingPoint",
    "Phase",
    "QuantizedWeight",
    "Schedule",
    "SparseKind",
    "SparseWeights",
    "TileGrid",
    "TileMap",
    "TileRun",
    "Trained",
    "ValueHessian",
]
