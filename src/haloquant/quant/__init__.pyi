from .allocation import Sweep as Sweep
from .allocation import knee as knee
from .codebook import WeightSample as WeightSample
from .codebook import sample_groups as sample_groups
from .codebook import select_codebook as select_codebook
from .layer import dequantize as dequantize
from .layer import mac_values as mac_values
from .layer import quantize_weight as quantize_weight
from .layer import quantize_weight_compensated as quantize_weight_compensated
from .tile_histogram import layer_tiles as layer_tiles
from .tiles import make_grid as make_grid
from .tiles import uniform_map as uniform_map

__all__ = [
    "Sweep",
    "WeightSample",
    "dequantize",
    "knee",
    "layer_tiles",
    "mac_values",
    "make_grid",
    "quantize_weight",
    "quantize_weight_compensated",
    "sample_groups",
    "select_codebook",
    "uniform_map",
]
