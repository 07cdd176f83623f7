"""Shapes of known models, from which a workload is made without weights.

Source: the models' published config.json (hidden size, feed-forward size, layers, heads, key-value heads, vocabulary).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from haloquant.errors import InputError

Family = Literal["llama", "opt"]


@dataclass(frozen=True, slots=True)
class WeightLayer:
    """A linear layer of a model: y = W x. Layers of one `group` read the same input.

    `family` names the layers that a router chooses among, one of each expert; it is empty for a layer that every token
    passes. `after_attention` is true for a layer that reads the output of attention.
    """

    name: str
    out_features: int
    in_features: int
    group: int
    family: str = ""
    after_attention: bool = False


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder-only transformer. `llama` has a gated feed-forward (gate, up, down), `opt` a plain one (fc1, fc2).

    If `weight_layers` is not empty, the model has these layers and not those of the family; the last is the head. A
    token passes `experts_per_token` of the experts of each family.
    """

    name: str
    family: Family
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    head_size: int = 0  # 0: hidden / heads
    weight_layers: tuple[WeightLayer, ...] = ()
    experts_per_token: int = 1

    def __post_init__(self) -> None:
        for name in ("hidden", "intermediate", "layers", "heads", "kv_heads", "vocabulary"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} of model {self.name} must be at least 1, not {getattr(self, name)}.")
        if self.heads % self.kv_heads:
            raise InputError(
                f"heads of model {self.name} must be a multiple of its {self.kv_heads} key-value heads, "
                f"not {self.heads}."
            )
        if not self.head_size and self.hidden % self.heads:
            raise InputError(
                f"hidden of model {self.name} must be a multiple of its {self.heads} heads, not {self.hidden}."
            )

    @property
    def head_features(self) -> int:
        """Features of one attention head."""
        return self.head_size or self.hidden // self.heads

    @property
    def linear_weights(self) -> int:
        """Number of weights of all linear layers, with the head, without embeddings and norms."""
        q, kv = self.heads * self.head_features, self.kv_heads * self.head_features
        feed = (3 if self.family == "llama" else 2) * self.hidden * self.intermediate
        return self.layers * (2 * self.hidden * q + 2 * self.hidden * kv + feed) + self.vocabulary * self.hidden


def _llama(name: str, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int) -> ModelShape:
    return ModelShape(name, "llama", hidden, intermediate, layers, heads, kv_heads, 32000)


def _opt(name: str, hidden: int, layers: int, heads: int) -> ModelShape:
    return ModelShape(name, "opt", hidden, 4 * hidden, layers, heads, heads, 50272)


MODELS: Final[Mapping[str, ModelShape]] = {
    shape.name: shape
    for shape in (
        _llama("llama2-7b", 4096, 11008, 32, 32, 32),
        _llama("llama2-13b", 5120, 13824, 40, 40, 40),
        _llama("llama2-70b", 8192, 28672, 80, 64, 8),
        ModelShape("llama3.1-405b", "llama", 16384, 53248, 126, 128, 8, 128256),
        _opt("opt-1.3b", 2048, 24, 32),
        _opt("opt-2.7b", 2560, 32, 32),
        _opt("opt-6.7b", 4096, 32, 32),
        _opt("opt-13b", 5120, 40, 40),
        _opt("opt-30b", 7168, 48, 56),
    )
}


def named_shape(name: str) -> ModelShape:
    """Return a shipped shape.

    Raises:
        InputError: no shape has this name.
    """
    if name.lower() not in MODELS:
        raise InputError(f"model shape must be one of {', '.join(MODELS)}, not {name!r}.")
    return MODELS[name.lower()]


def shape_from_config(config: Mapping[str, object], name: str = "model") -> ModelShape:
    """Return the shape that a Hugging Face `config.json` describes: a gated decoder such as Llama or Qwen2, or OPT.

    Raises:
        InputError: a size is missing or not a whole number, or the model is of neither family.
    """
    kind = config.get("model_type")
    if kind == "opt":
        hidden = _whole(config, "hidden_size")
        heads = _whole(config, "num_attention_heads")
        return ModelShape(
            name, "opt", hidden, _whole(config, "ffn_dim"), _whole(config, "num_hidden_layers"), heads, heads,
            _whole(config, "vocab_size"),
        )  # fmt: skip
    if "num_attention_heads" not in config or "intermediate_size" not in config:
        raise InputError(f"model_type of {name} must be opt or a gated decoder like llama, not {kind!r}.")
    heads = _whole(config, "num_attention_heads")
    return ModelShape(
        name,
        "llama",
        _whole(config, "hidden_size"),
        _whole(config, "intermediate_size"),
        _whole(config, "num_hidden_layers"),
        heads,
        heads if config.get("num_key_value_heads") is None else _whole(config, "num_key_value_heads"),
        _whole(config, "vocab_size"),
        0 if config.get("head_dim") is None else _whole(config, "head_dim"),
    )


def _whole(config: Mapping[str, object], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{key} of the model's config must be a whole number, not {value!r}.")
    return value
