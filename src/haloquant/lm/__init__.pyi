from .devices import describe_device as describe_device
from .devices import find_device as find_device
from .experts import unstack_checkpoint as unstack_checkpoint
from .model_check import check_model as check_model
from .swap_weights import find_module as find_module
from .swap_weights import with_weights as with_weights
from .tensor_names import TensorNames as TensorNames
from .text import load_text as load_text
from .text import load_tokenizer as load_tokenizer
from .text import tokenize as tokenize
from .torch_model import load_model as load_model

__all__ = [
    "TensorNames",
    "check_model",
    "describe_device",
    "find_device",
    "find_module",
    "load_model",
    "load_text",
    "load_tokenizer",
    "tokenize",
    "unstack_checkpoint",
    "with_weights",
]
