"""Refuse GGUF files whose metadata say that the model computes otherwise than its family in transformers does.

Numbers that no model has are refused, too.
"""

from math import isfinite
from typing import Any

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.gguf.header import GgufHeader

# Entries that change what a model computes and that no family read here has, and the values that change nothing.
_NEUTRAL: dict[str, tuple[float, ...]] = {
    "attention.causal": (1,),
    "attention.clamp_kqv": (0,),
    "attention.output_scale": (0, 1),
    "attention.scale": (0,),
    "attention.temperature_scale": (0,),
    "embedding_scale": (0, 1),
    "expert_gating_func": (0, 1),
    "expert_group_count": (0, 1),
    "expert_weights_scale": (0, 1),
    "leading_dense_block_count": (0,),
    "logit_scale": (0, 1),
    "nextn_predict_layers": (0,),
    "residual_scale": (0, 1),
    "rope.scaling.alpha": (0, 1),
    "rope.scaling.attn_factor": (0, 1),
    "rope.scaling.yarn_attn_factor": (0, 1),
    "rope.scaling.yarn_ext_factor": (-1, 1),
    "rope.scaling.yarn_log_multiplier": (0,),
    "router_logit_softcapping": (0,),
}
# Sizes that a family has once for all blocks.
_SIZES = ("attention.head_count", "attention.head_count_kv", "feed_forward_length", "expert_count", "expert_used_count")
_POSITIVE = (
    "block_count", "context_length", "embedding_length", "attention.head_count", "attention.head_count_kv",
    "attention.key_length", "rope.freq_base",
)  # fmt: skip
_NOT_NEGATIVE = (
    "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "rope.scaling.factor", "rope.scale_linear",
)  # fmt: skip
_PERIOD = {"gemma2": 2, "gemma3": 6}  # every so many blocks one attends to all positions


def check_values(header: GgufHeader) -> None:
    """Refuse a file that holds no model, or one that transformers would compute in another way.

    Raises:
        CheckpointError: It is one.
    """
    kind = header.metadata.get("general.type", "model")
    if kind != "model":
        raise CheckpointError(
            f"{header.file} must hold a whole model, but is a file of the kind {kind!r:.40}; give the file of the model"
        )
    for name in _SIZES:
        if isinstance(_entry(header, name), list):
            raise _error(header, name, "one number for all blocks")
    for name in (*_POSITIVE, *_NOT_NEGATIVE):
        value = header.number(name)
        if value is not None and not (isfinite(value) and (value > 0 or (value == 0 and name in _NOT_NEGATIVE))):
            raise CheckpointError(
                f"{header.file} must have a number {'above' if name in _POSITIVE else 'of at least'} 0 in "
                f"{header.architecture}.{name}, not {value:g}; the file is damaged"
            )
    for name, neutral in _NEUTRAL.items():
        value = _entry(header, name)
        if value is not None and value not in neutral:
            raise _error(header, name, f"{neutral[-1]:g} or no value" if name != "attention.causal" else "true")
    keys, values = header.number("attention.key_length"), header.number("attention.value_length")
    if values is not None and keys is not None and keys != values:
        raise _error(header, "attention.value_length", f"{keys}, the width of its keys,")
    period, given = _PERIOD.get(header.architecture), _entry(header, "attention.sliding_window_pattern")
    blocks = range(int(header.number("block_count") or 0))
    if period and given not in (None, period, [(n + 1) % period != 0 for n in blocks]):
        raise _error(header, "attention.sliding_window_pattern", str(period))


def _entry(header: GgufHeader, name: str) -> Any:
    return header.metadata.get(f"{header.architecture}.{name}")


def _error(header: GgufHeader, name: str, wanted: str) -> CheckpointError:
    return CheckpointError(
        f"{header.file} must have {wanted} in {header.architecture}.{name}, as this family has in transformers, not "
        f"{_entry(header, name)!r:.60}; give the original folder of this model"
    )
