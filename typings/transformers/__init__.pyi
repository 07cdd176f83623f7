# The names of transformers that the package uses most. Without this file pyright reads all models of transformers.
from typing import Any

from transformers.models.auto.configuration_auto import AutoConfig as AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForCausalLM as AutoModelForCausalLM
from transformers.models.auto.tokenization_auto import AutoTokenizer as AutoTokenizer

def __getattr__(name: str) -> Any: ...  # any other
