from .folder import make_folder as make_folder
from .header import GgufHeader as GgufHeader
from .header import read_gguf_header as read_gguf_header
from .tensors import GgufTensor as GgufTensor

__all__ = ["GgufHeader", "GgufTensor", "make_folder", "read_gguf_header"]
