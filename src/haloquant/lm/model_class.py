"""Which class of transformers runs the decoder of a model folder."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText


def model_class(folder: Path) -> Any:
    """Return the auto class that loads a folder: a causal language model, or a model of text and images.

    The text model within a model of text and images predicts text as a causal language model does, if it is given no
    image.

    Raises:
        ValueError: Transformers does not know the type of the model.
        OSError: The configuration cannot be read.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return class_of(config)


def class_of(config: Any) -> Any:
    """Return the auto class of a configuration of transformers."""
    causal = type(config) in AutoModelForCausalLM._model_mapping
    both = type(config) in AutoModelForImageTextToText._model_mapping
    return AutoModelForImageTextToText if both and not causal else AutoModelForCausalLM
