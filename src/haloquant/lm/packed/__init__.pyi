from .config import PackedConfig as PackedConfig
from .halo_linear import HaloLinear as HaloLinear
from .loading import load as load
from .reader import PackedModel as PackedModel
from .reader import Verified as Verified
from .reader import iterate_layers as iterate_layers
from .reader import open_packed as open_packed
from .reader import read_layer as read_layer
from .reader import verify as verify

__all__ = [
    "HaloLinear",
    "PackedConfig",
    "PackedModel",
    "Verified",
    "iterate_layers",
    "load",
    "open_packed",
    "read_layer",
    "verify",
]
