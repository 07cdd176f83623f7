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
    with pytest.raises(InputError, match=r"^hidden_size of the model's config must be a whole number, not '64'.$"):
        shape_from_config({**llama, "hidden_size": "64"})
    with pytest.raises(
        InputError, match=r"^model_type of model must be opt or a gated decoder like llama, not 'bert'.$"
    ):
        shape_from_config({"model_type": "bert"})
    with pytest.raises(InputError, match=r"^layers of model x must be at least 1, not 0.$"):
        ModelShape("x", "llama", 64, 64, 0, 4, 4, 10)
    with pytest.raises(InputError, match=r"^heads of model x must be a multiple of its 3 key-value heads, not 4.$"):
        ModelShape("x", "llama", 64, 64, 1, 4, 3, 10)
    with pytest.raises(InputError, match=r"^hidden of model x must be a multiple of its 5 heads, not 64.$"):
        ModelShape("x", "llama", 64, 64, 1, 5, 5, 10)
    with pytest.raises(InputError, match=r"^model shape must be one of llama2-7b, .*, not 'gpt'.$"):
        named_shape("gpt")
