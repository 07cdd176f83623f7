"""The sizes of a decoder-only transformer, and the linear layers that follow from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from haloquant.errors import InputError
from haloquant.records.layer_names import BLOCK_LAYERS, EXPERTS

Family = Literal["llama", "opt"]
Role = Literal["input", "expand", "output", "up", "down"]


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
class BlockWeight:
    """One kind of linear layer of a block, by its name in the block. `experts` counts its copies: one an expert."""

    name: str
    out_features: int
    in_features: int
    role: Role
    experts: int = 1


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434).

    The cache holds `rank + rotary` features of each token, which all heads share. In the prefill they are expanded to
    keys of `key + rotary` and values of `value` features for each head. In a decode step the expansion is applied to
    queries and results instead ("absorbed"), which takes as many products.
    """

    query_rank: int
    rank: int
    key: int
    rotary: int
    value: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder-only transformer. `llama` has a gated feed-forward (gate, up, down), `opt` a plain one (fc1, fc2).

    If `weight_layers` is not empty, the model has these layers and not those of the family; the last is the head. A
    token passes `experts_per_token` of the experts of each family.

    All blocks after the first `dense_blocks` have `experts` experts of `expert_size` features in place of the
    feed-forward, and one of `shared_size` features that every token passes (0: none). `windows` holds for each block
    how many tokens its attention reads at most (0: all); empty means all tokens in every block.
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
    experts: int = 0
    expert_size: int = 0
    shared_size: int = 0
    dense_blocks: int = 0
    windows: tuple[int, ...] = ()
    latent: LatentAttention | None = None

    def __post_init__(self) -> None:
        for name in ("hidden", "intermediate", "layers", "heads", "kv_heads", "vocabulary"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} of model {self.name} must be at least 1, not {getattr(self, name)}")
        if self.heads % self.kv_heads:
            raise InputError(
                f"heads of model {self.name} must be a multiple of its {self.kv_heads} key-value heads, "
                f"not {self.heads}"
            )
        if not self.head_size and self.hidden % self.heads:
            raise InputError(
                f"hidden of model {self.name} must be a multiple of its {self.heads} heads, not {self.hidden}"
            )
        if self.windows and len(self.windows) != self.layers:
            raise InputError(
                f"windows of model {self.name} must be one for each of its {self.layers} blocks, "
                f"not {len(self.windows)}"
            )

    @property
    def head_features(self) -> int:
        """Features of one attention head."""
        return self.head_size or self.hidden // self.heads

    @property
    def linear_weights(self) -> int:
        """Number of weights of all linear layers, with the head, without embeddings, norms and routers."""
        return sum(w.out_features * w.in_features * w.experts for w in self._all_weights()) + self._head_weights

    @property
    def active_weights(self) -> int:
        """Number of weights that one token passes: those of `linear_weights` without the experts that do not run."""
        passed = (
            w.out_features * w.in_features * (self.experts_per_token if w.experts > 1 else 1)
            for w in self._all_weights()
        )
        return sum(passed) + self._head_weights

    @property
    def _head_weights(self) -> int:
        return self.vocabulary * self.hidden

    def attended_tokens(self, block: int, context: int) -> int:
        """Return how many of `context` tokens the attention of a block reads."""
        window = self.windows[block] if self.windows else 0
        return min(context, window) if window else context

    def block_weights(self, block: int) -> tuple[BlockWeight, ...]:
        """Return the linear layers of a block in the order in which they run."""
        size = self.latent.value if self.latent else self.head_features
        output = BLOCK_LAYERS[self.family].attention_output
        return (
            *self._attention_inputs(),
            *(BlockWeight(name, self.hidden, self.heads * size, "output") for name in output),
            *self._feed_forward(block),
        )

    def _attention_inputs(self) -> tuple[BlockWeight, ...]:
        if self.latent is None:
            q, kv = self.heads * self.head_features, self.kv_heads * self.head_features
            names = BLOCK_LAYERS[self.family].query_key_value
            return tuple(BlockWeight(n, rows, self.hidden, "input") for n, rows in zip(names, (q, kv, kv), strict=True))
        parts = self.latent
        keys_values = self.heads * (parts.key + parts.value)
        return (
            BlockWeight("self_attn.q_a_proj", parts.query_rank, self.hidden, "input"),
            BlockWeight("self_attn.kv_a_proj_with_mqa", parts.rank + parts.rotary, self.hidden, "input"),
            BlockWeight("self_attn.q_b_proj", self.heads * (parts.key + parts.rotary), parts.query_rank, "expand"),
            BlockWeight("self_attn.kv_b_proj", keys_values, parts.rank, "expand"),
        )

    def _feed_forward(self, block: int) -> tuple[BlockWeight, ...]:
        names = BLOCK_LAYERS[self.family]
        if not self.experts or block < self.dense_blocks:
            up = [BlockWeight(name, self.intermediate, self.hidden, "up") for name in names.feed_forward_up]
            return (
                *up,
                *(BlockWeight(name, self.hidden, self.intermediate, "down") for name in names.feed_forward_down),
            )
        inner = EXPERTS["qwen3_moe"]
        both = [(f"{inner.mixture}.experts", self.expert_size, self.experts)]
        both += [(f"{inner.mixture}.shared_experts", self.shared_size, 1)] if self.shared_size else []
        up = [
            BlockWeight(f"{part}.{name}", size, self.hidden, "up", count)
            for part, size, count in both
            for name in (inner.gate, inner.up)
        ]
        return (
            *up,
            *(BlockWeight(f"{part}.{inner.down}", self.hidden, size, "down", count) for part, size, count in both),
        )

    def _all_weights(self) -> Iterator[BlockWeight]:
        for block in range(self.layers):
            yield from self.block_weights(block)
