from .dispatch import dequantize as dequantize
from .dispatch import integer_linear as integer_linear
from .dispatch import linear as linear
from .layer_tensors import PackedLayer as PackedLayer
from .layer_tensors import PackedSparse as PackedSparse
from .layer_tensors import packed_layer as packed_layer
from .torch_operator import compiled_linear as compiled_linear

__all__ = [
    "PackedLayer",
    "PackedSparse",
    "compiled_linear",
    "dequantize",
    "integer_linear",
    "linear",
    "packed_layer",
]
