"""Metadata that say that a model computes otherwise than its family in transformers."""

from pathlib import Path
from typing import Any

import pytest

gguf = pytest.importorskip("gguf")

from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.checkpoint.gguf.header import read_gguf_header  # noqa: E402
from haloquant.lm.checkpoint.gguf.unread_values import check_values  # noqa: E402


def check(tmp_path: Path, family: str = "llama", **entries: Any) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", family)
    writer.add_block_count(4)
    for name, value in entries.items():
        key = f"{family}.{name}" if "general" not in name else name
        adders = {
            bool: writer.add_bool, int: writer.add_int32, float: writer.add_float32, str: writer.add_string,
            list: writer.add_array,
        }  # fmt: skip
        adders[type(value)](key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    check_values(read_gguf_header(tmp_path / "x.gguf"))


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"attention.causal": False}, r"must have true in llama\.attention\.causal, .* not False"),
        ({"logit_scale": 0.5}, r"must have 1 or no value in llama\.logit_scale, .* not 0\.5"),
        ({"expert_gating_func": 2}, "expert_gating_func"),
        ({"attention.head_count_kv": [4, 2, 4, 2]}, r"one number for all blocks in .*head_count_kv, .* not \[4, 2"),
        ({"attention.key_length": 64, "attention.value_length": 32}, "must have 64, the width of its keys, in"),
        ({"family": "gemma3", "attention.sliding_window_pattern": 2}, "must have 6 in gemma3.attention.sliding_window"),
        ({"context_length": 0}, r"must have a number above 0 in llama\.context_length, not 0; the file is damaged"),
        ({"attention.head_count": -4}, r"above 0 in llama\.attention\.head_count, not -4"),
        ({"rope.freq_base": 0.0}, r"above 0 in llama\.rope\.freq_base, not 0"),
        ({"attention.layer_norm_rms_epsilon": float("nan")}, r"of at least 0 in .*layer_norm_rms_epsilon, not nan"),
        ({"rope.scaling.factor": float("inf")}, r"of at least 0 in llama\.rope\.scaling\.factor, not inf"),
        ({"general.type": "adapter"}, "must hold a whole model, but is a file of the kind 'adapter'"),
    ],
)
def test_another_computation_is_refused(entries: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        check(tmp_path, **entries)


def test_values_that_change_nothing_are_taken(tmp_path: Path) -> None:
    check(tmp_path, **{"attention.causal": True, "logit_scale": 1.0, "expert_group_count": 1, "general.type": "model"})
    check(tmp_path, "gemma2", **{"attention.sliding_window_pattern": [True, False, True, False]})
    check(tmp_path, **{"attention.key_length": 64, "attention.value_length": 64})
    check(tmp_path, **{"attention.layer_norm_rms_epsilon": 0.0, "rope.scaling.factor": 0.0, "context_length": 1})
