"""Shapes of published models and of a config.json."""

import pytest

from haloquant.accel.workload.model_shapes import MODELS, ModelShape, named_shape, shape_from_config
from haloquant.errors import InputError
from support.near import near


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llama2-7b", 6.607),  # 6.738 less the embedding
        ("llama2-13b", 12.852),
        ("llama2-70b", 68.714),
        ("opt-1.3b", 1.311),  # 24 layers of 12 x 2048^2, and the head that is tied to the embedding
        ("opt-30b", 29.956),
    ],
)
def test_linear_weights_of_published_models(name: str, billions: float) -> None:
    assert named_shape(name).linear_weights / 1e9 == near(billions, abs=1e-3)


# Parameters in billions as the makers publish them: in all, and of one token. Norms, routers and biases, which a shape
# leaves out, are far below 1 % of them. Models with one matrix for embedding and head count it once.
PUBLISHED = {
    "llama3.1-8b": (8.03, 8.03), "llama3.1-70b": (70.6, 70.6), "mistral-7b": (7.25, 7.25),
    "mistral-nemo-12b": (12.2, 12.2), "mistral-small-24b": (23.6, 23.6), "mixtral-8x7b": (46.7, 12.9),
    "qwen2.5-7b": (7.61, 7.61), "qwen2.5-14b": (14.7, 14.7), "qwen2.5-32b": (32.5, 32.5), "qwen2.5-72b": (72.7, 72.7),
    "qwen3-8b": (8.2, 8.2), "qwen3-14b": (14.8, 14.8), "qwen3-32b": (32.8, 32.8), "qwen3-30b-a3b": (30.5, 3.3),
    "qwen3-235b-a22b": (235.0, 22.0), "phi4": (14.7, 14.7), "deepseek-v3": (671.0, 37.0), "gpt-oss-20b": (20.9, 3.6),
    "gpt-oss-120b": (116.8, 5.1),
}  # fmt: skip
TIED = {
    "llama3.2-1b": 1.24, "llama3.2-3b": 3.21, "qwen2.5-0.5b": 0.49, "qwen2.5-1.5b": 1.54, "qwen2.5-3b": 3.09,
    "qwen3-0.6b": 0.6, "qwen3-1.7b": 1.72, "qwen3-4b": 4.02, "gemma3-1b": 1.0, "gemma3-4b": 3.88, "gemma3-12b": 11.77,
    "gemma3-27b": 27.0, "phi4-mini": 3.84,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_models_since_2023(name: str) -> None:
    shape, (total, active) = named_shape(name), PUBLISHED[name]
    embedding = shape.vocabulary * shape.hidden
    assert (shape.linear_weights + embedding) / 1e9 == near(total, rel=0.012)
    # What makers count for one token differs in whether it holds the embedding.
    assert shape.active_weights / 1e9 - 0.02 * active <= active <= (shape.active_weights + embedding) / 1e9 * 1.03


@pytest.mark.parametrize("name", TIED)
def test_parameters_of_models_with_a_tied_head(name: str) -> None:
    assert named_shape(name).linear_weights / 1e9 == near(TIED[name], rel=0.012)


def test_every_named_model_is_compared_with_published_numbers() -> None:
    older = {name for name in MODELS if name.startswith(("opt-", "llama2-"))} | {"llama3.1-405b"}
    assert set(MODELS) == set(PUBLISHED) | set(TIED) | older
    assert named_shape("llama3.1-405b").linear_weights / 1e9 == near(405.85 - 2.10, rel=1e-3)


def test_windows_are_one_for_each_block() -> None:
    gemma, oss = named_shape("gemma3-1b"), named_shape("gpt-oss-20b")
    assert [gemma.attended_tokens(block, 4096) for block in range(7)] == [512] * 5 + [4096, 512]
    assert [oss.attended_tokens(block, 100) for block in range(2)] == [100, 100]
    assert [oss.attended_tokens(block, 1000) for block in range(2)] == [128, 1000]
    with pytest.raises(InputError, match=r"^windows of model x must be one for each of its 2 blocks, not 1$"):
        ModelShape("x", "llama", 64, 64, 2, 4, 4, 10, windows=(8,))


def test_all_named_models_are_there() -> None:
    assert set(MODELS) >= {f"llama2-{n}b" for n in (7, 13, 70)} | {
        f"opt-{n}b" for n in ("1.3", "2.7", "6.7", "13", "30")
    }


def test_shapes_from_a_config() -> None:
    llama = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 5,
        "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 512,
    }  # fmt: skip
    assert shape_from_config(llama, "tiny") == ModelShape("tiny", "llama", 64, 172, 5, 8, 4, 512)
    opt = {
        "model_type": "opt",
        "hidden_size": 64,
        "ffn_dim": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 9,
    }
    assert shape_from_config(opt).intermediate == 256
    with pytest.raises(InputError, match=r"^hidden_size of the model's config must be a whole number, not '64'$"):
        shape_from_config({**llama, "hidden_size": "64"})
    with pytest.raises(
        InputError, match=r"^model_type of model must be opt or a gated decoder like llama, not 'bert'$"
    ):
        shape_from_config({"model_type": "bert"})
    with pytest.raises(InputError, match=r"^layers of model x must be at least 1, not 0$"):
        ModelShape("x", "llama", 64, 64, 0, 4, 4, 10)
    with pytest.raises(InputError, match=r"^heads of model x must be a multiple of its 3 key-value heads, not 4$"):
        ModelShape("x", "llama", 64, 64, 1, 4, 3, 10)
    with pytest.raises(InputError, match=r"^hidden of model x must be a multiple of its 5 heads, not 64$"):
        ModelShape("x", "llama", 64, 64, 1, 5, 5, 10)
    with pytest.raises(InputError, match=r"^model shape must be one of llama2-7b, .*, not 'gpt'$"):
        named_shape("gpt")
