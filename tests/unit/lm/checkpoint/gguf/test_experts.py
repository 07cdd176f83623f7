"""Names of experts in GGUF files and in checkpoints."""

import pytest

from haloquant.lm.checkpoint.gguf.experts import checkpoint_shapes, expert_names

PARAMETERS = {
    "model.layers.0.mlp.gate.weight": (2, 8),
    "model.layers.0.mlp.experts.gate_up_proj": (2, 12, 8),
    "model.layers.0.mlp.experts.down_proj": (2, 8, 6),
    "model.layers.0.self_attn.q_proj.weight": (8, 8),
}


def test_a_checkpoint_of_mixtral_has_a_tensor_for_each_matrix() -> None:
    owner = "model.layers.0.block_sparse_moe"
    experts = {
        f"{owner}.experts.{n}.{leaf}.weight": (8, 6) if leaf == "w2" else (6, 8)
        for n in (0, 1)
        for leaf in ("w1", "w2", "w3")
    }
    rest = {f"{owner}.gate.weight": (2, 8), "model.layers.0.self_attn.q_proj.weight": (8, 8)}
    assert checkpoint_shapes("mixtral", PARAMETERS) == experts | rest
    assert checkpoint_shapes("llama", PARAMETERS) == PARAMETERS


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        ("blk.3.ffn_gate_exps.weight", ["experts.0.gate_proj", "experts.1.gate_proj"]),
        ("blk.3.ffn_down_exps.weight", ["experts.0.down_proj", "experts.1.down_proj"]),
        ("blk.3.ffn_up.1.weight", ["experts.1.up_proj"]),
    ],
)
def test_a_stack_holds_all_experts_and_an_older_file_one_in_each_tensor(stored: str, names: list[str]) -> None:
    found = expert_names("qwen3_moe", stored, 2)
    assert found == [f"model.layers.3.mlp.{name}.weight" for name in names]


@pytest.mark.parametrize(
    ("family", "stored"), [("llama", "blk.3.ffn_gate_exps.weight"), ("mixtral", "blk.3.ffn_gate.weight")]
)
def test_other_tensors_are_no_experts(family: str, stored: str) -> None:
    assert expert_names(family, stored, 2) is None
