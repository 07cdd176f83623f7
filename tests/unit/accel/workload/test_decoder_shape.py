"""The linear layers that follow from the sizes of a model."""

from haloquant.accel.workload.decoder_shape import LatentAttention, ModelShape


def test_layers_of_a_block_with_experts_and_of_a_dense_one() -> None:
    shape = ModelShape(
        "x", "llama", 64, 96, 2, 4, 2, 10, 16, experts_per_token=2, experts=8, expert_size=24, shared_size=32,
        dense_blocks=1,
    )  # fmt: skip
    dense, sparse = ({w.name.removeprefix("mlp."): w for w in shape.block_weights(block)[4:]} for block in (0, 1))
    assert list(dense) == ["gate_proj", "up_proj", "down_proj"]
    assert list(sparse) == [
        f"{part}.{name}"
        for names in (("gate_proj", "up_proj"), ("down_proj",))
        for part in ("experts", "shared_experts")
        for name in names
    ]
    assert (sparse["experts.down_proj"].in_features, sparse["experts.down_proj"].experts) == (24, 8)
    attention = 2 * (64 * 64 + 2 * 64 * 32 + 64 * 64)
    assert shape.linear_weights == attention + 3 * 64 * 96 + 3 * 64 * (8 * 24 + 32) + 640
    assert shape.active_weights == attention + 3 * 64 * 96 + 3 * 64 * (2 * 24 + 32) + 640


def test_latent_attention_has_matrices_of_its_ranks() -> None:
    shape = ModelShape("x", "llama", 64, 96, 1, 4, 4, 10, 24, latent=LatentAttention(20, 12, 16, 8, 10))
    sizes = {w.name.rpartition(".")[2]: (w.out_features, w.in_features) for w in shape.block_weights(0)[:5]}
    assert sizes == {
        "q_a_proj": (20, 64), "kv_a_proj_with_mqa": (20, 64), "q_b_proj": (4 * 24, 20), "kv_b_proj": (4 * 26, 12),
        "o_proj": (64, 40),
    }  # fmt: skip
