from .architectures import Architecture as Architecture
from .completeness import check_complete as check_complete
from .linear_layers import LinearLayer as LinearLayer
from .reader import Checkpoint as Checkpoint
from .reader import open_checkpoint as open_checkpoint
from .reader import read_tensor as read_tensor
from .reader import read_weight as read_weight
from .safetensors import StoredTensor as StoredTensor

__all__ = [
    "Architecture",
    "Checkpoint",
    "LinearLayer",
    "StoredTensor",
    "check_complete",
    "open_checkpoint",
    "read_tensor",
    "read_weight",
]
