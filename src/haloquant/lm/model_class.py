"""Which class of transformers runs the decoder of a model folder, and the configuration that it is made from."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.auto_factory import _get_model_class

from haloquant.errors import CheckpointError, HaloquantError, first_line
from haloquant.lm.checkpoint.config_values import failed_at
from haloquant.lm.checkpoint.model_config import read_config, text_part

# Families that transformers cannot build where config.json gives no `head_dim`, or null.
NEED_HEAD_SIZE = frozenset({"granite", "granitemoe", "ministral", "mistral"})
_AUTO = (AutoModelForCausalLM, AutoModelForImageTextToText)
_TORCH_NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"  # a RuntimeError of torch
_NO_SOURCE = "could not get source code"  # what `inspect` says of a file for which `linecache` has too little memory


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
    """Return the auto class of a configuration of transformers: the one that makes the class which it names, if any."""
    named = getattr(config, "architectures", None) or ()
    known = [auto for auto in _AUTO if type(config) in auto._model_mapping]
    classes = {auto: _get_model_class(config, auto._model_mapping).__name__ for auto in known}
    return next((auto for auto in known if classes[auto] in named), known[0] if known else AutoModelForCausalLM)


def complete_head_size(config: Any) -> None:
    """Set the size of a head to `hidden_size / num_attention_heads` where a configuration leaves it open.

    Some families of transformers (Granite, Ministral) build no model without it, though that is what they mean.
    """
    inner = config.get_text_config()
    hidden, heads = _value(inner, "hidden_size"), _value(inner, "num_attention_heads")
    if _value(inner, "head_dim", 0) is None and isinstance(hidden, int) and isinstance(heads, int) and heads > 0:
        inner.head_dim = hidden // heads


def leave_weights(config: Any) -> None:
    """Keep a model from changing its own weights when it first runs.

    RWKV divides weights of its blocks by powers of two, and the hidden states by the same, so that float16 does not
    overflow. Weights that are packed or replaced would not be divided.
    """
    if getattr(config, "rescale_every", 0):
        config.rescale_every = 0


def _value(config: Any, name: str, otherwise: Any = None) -> Any:
    """Return a value of a configuration; `otherwise` where there is none, or one for each block (Gemma 4)."""
    try:
        return getattr(config, name, otherwise)
    except RuntimeError:
        return otherwise


@contextmanager
def building(name: Path, folder: Path) -> Iterator[None]:
    """Turn what transformers raises within the block, where it builds a model from a config.json, into one sentence.

    Args:
        name: what the user gave, for the sentence.
        folder: the folder of the config.json, or that file.

    Raises:
        CheckpointError: The block raised an error. The sentence says what transformers said, and which size the
            configuration may lack.
        MemoryError: There is too little memory.
    """
    try:
        yield
    except (HaloquantError, MemoryError):
        raise
    except SystemError as error:  # Python says this of an import that ran out of memory
        raise MemoryError(str(error)) from error
    except Exception as error:  # the values of a configuration go into the code of any family, which may raise anything
        if str(error) == _NO_SOURCE or _TORCH_NO_MEMORY in str(error):
            raise MemoryError(first_line(error)) from error
        said = failed_at(error, read_config(folder))
        raise CheckpointError(
            f"{name} must load as a causal model in transformers, but: {said}{_advice(folder)}"
        ) from error


def _advice(folder: Path) -> str:
    """Return what to add to a configuration without the size of a head, which some families need; often nothing."""
    inner = text_part(read_config(folder))
    hidden, heads = (inner.get(name) for name in ("hidden_size", "num_attention_heads"))
    if not isinstance(hidden, int) or not isinstance(heads, int) or heads < 1 or inner.get("head_dim") is not None:
        return ""
    if hidden % heads or str(inner.get("model_type")) not in NEED_HEAD_SIZE:
        return ""
    return f'; add "head_dim": {hidden // heads} to config.json'
