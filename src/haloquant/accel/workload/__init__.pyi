from .decoder_shape import ModelShape as ModelShape
from .model_shapes import named_shape as named_shape
from .model_shapes import shape_from_config as shape_from_config
from .prefill_decode import Workload as Workload
from .prefill_decode import decode as decode
from .prefill_decode import prefill as prefill
from .synthetic_tiles import ClassMix as ClassMix
from .synthetic_tiles import Encoding as Encoding
from .synthetic_tiles import synthetic_workload as synthetic_workload

__all__ = [
    "ClassMix",
    "Encoding",
    "ModelShape",
    "Workload",
    "decode",
    "named_shape",
    "prefill",
    "shape_from_config",
    "synthetic_workload",
]
