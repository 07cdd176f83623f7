"""Names of the linear layers of a decoder block, by model family and role. One table for checkpoints and workloads.

The layers of one role read the same input, so they may run in any order; roles run in the order of the table. Names are
relative to the block, for example `self_attn.q_proj` in `model.layers.3.self_attn.q_proj`.
"""

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

# The decoder blocks' prefix in the two families that a workload can be made for without a checkpoint.
BLOCK_PREFIX: Final[Mapping[str, str]] = {"llama": "model.layers", "opt": "model.decoder.layers"}
HEAD: Final = "lm_head"
HEADS: Final = (HEAD, "embed_out", "output")  # the output head in all known families
