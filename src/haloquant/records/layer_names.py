"""Names of the linear layers of a decoder block, by model family and role. The one table of layer names.

The layers of one role read the same input, so they may run in any order; roles run in the order of the table. Names are
relative to the block, for example `self_attn.q_proj` in `model.layers.3.self_attn.q_proj`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class BlockLayers:
    """The linear layers of one decoder block, role by role in the order in which they run."""

    query_key_value: tuple[str, ...]
    attention_output: tuple[str, ...]
    feed_forward_up: tuple[str, ...]  # gate and up where the feed-forward is gated
    feed_forward_down: tuple[str, ...]

    @property
    def roles(self) -> tuple[tuple[str, ...], ...]:
        """All roles in the order in which they run."""
        return self.query_key_value, self.attention_output, self.feed_forward_up, self.feed_forward_down


_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")

LLAMA: Final = BlockLayers(_QKV, ("self_attn.o_proj",), ("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",))
PHI3: Final = BlockLayers(("self_attn.qkv_proj",), ("self_attn.o_proj",), ("mlp.gate_up_proj",), ("mlp.down_proj",))
OPT: Final = BlockLayers(_QKV, ("self_attn.out_proj",), ("fc1",), ("fc2",))
NEOX: Final = BlockLayers(
    ("attention.query_key_value",), ("attention.dense",), ("mlp.dense_h_to_4h",), ("mlp.dense_4h_to_h",)
)
GPT2: Final = BlockLayers(("attn.c_attn",), ("attn.c_proj",), ("mlp.c_fc",), ("mlp.c_proj",))

# By `model_type` of config.json.
BLOCK_LAYERS: Final[Mapping[str, BlockLayers]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "smollm3", "olmo2"), LLAMA),
    "phi3": PHI3,
    "opt": OPT,
    "gpt_neox": NEOX,
    "gpt2": GPT2,
}

# Any other decoder: regular expressions of the names of each role, tried in this order on the name within the block.
ROLE_PATTERNS: Final = (
    r".*\b(q|k|v|qkv|query|key|value|query_key_value|c_attn|Wqkv|W_pack|in_proj|q_a|kv_a|wq|wk|wv)"
    r"(_proj|_proj_with_mqa)?",
    r".*\b(q_b|kv_b)_proj",
    r"(.*\b(o_proj|out_proj|Wo|wo))|(.*att.*\b(dense|c_proj|proj|o))",
    r".*\b(gate_proj|up_proj|gate_up_proj|fc1|fc_in|c_fc|w1|w3|dense_h_to_4h|lin1|linear1|up|gate|wi|wi_0|wi_1)",
    r".*\b(down_proj|fc2|fc_out|c_proj|w2|dense_4h_to_h|lin2|linear2|down|wo|proj)",
)
# The customary order of layers that read the same input: queries, keys, values; gate, up.
CUSTOMARY_ORDER: Final = (
    "q_proj", "wq", "query", "k_proj", "wk", "key", "v_proj", "wv", "value", "gate_proj", "w1", "up_proj", "w3",
)  # fmt: skip
# The projections of attention, where each has a matrix of its own.
QUERY, KEY, VALUE = "q_proj", "k_proj", "v_proj"
ATTENTION_OUTPUTS: Final = ("o_proj", "out_proj")
# The layers before the feed-forward's activation function: the gate, which is multiplied after it, or else the input.
FEED_FORWARD_GATES: Final = ("gate_proj", "w1")
FEED_FORWARD_INPUTS: Final = ("fc1", "c_fc", "dense_h_to_4h", "up_proj", "fc_in")
# Projections of queries or keys, also fused ones, by the last part of the name.
QUERY_OR_KEY: Final = re.compile(r"(^|_)[qk]_|query|key|qkv|^c_attn$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ExpertNames:
    """How a family names the parts of a mixture in its checkpoints: the mixture, and the matrices of an expert."""

    mixture: str
    gate: str
    up: str
    down: str


# Mixtures of experts, by `model_type` of config.json.
EXPERTS: Final[Mapping[str, ExpertNames]] = {
    "mixtral": ExpertNames("block_sparse_moe", "w1", "w3", "w2"),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe"), ExpertNames("mlp", "gate_proj", "up_proj", "down_proj")),
}

# The decoder blocks' prefix in the two families that a workload can be made for without a checkpoint.
BLOCK_PREFIX: Final[Mapping[str, str]] = {"llama": "model.layers", "opt": "model.decoder.layers"}
HEAD: Final = "lm_head"
HEADS: Final = (HEAD, "embed_out", "output")  # the output head in all known families
