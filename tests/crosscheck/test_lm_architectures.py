"""Layer names, order and groups against the models of transformers: what runs decides, not what a table says."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.swap_weights import find_module, get_weight, is_transposed, with_weights  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from support.tiny_model import iterate_weights  # noqa: E402

COMMON = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {**COMMON, "intermediate_size": 24, "num_key_value_heads": 2}
CONFIGS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaConfig(**LLAMA),
    "mistral": lambda: transformers.MistralConfig(**LLAMA, head_dim=4),
    "qwen2": lambda: transformers.Qwen2Config(**LLAMA),
    "qwen3": lambda: transformers.Qwen3Config(**LLAMA, head_dim=8),
    "gemma2": lambda: transformers.Gemma2Config(**LLAMA, head_dim=4),
    "phi3": lambda: transformers.Phi3Config(**LLAMA, pad_token_id=0),
    "opt": lambda: transformers.OPTConfig(**COMMON, ffn_dim=24, word_embed_proj_dim=16),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**COMMON, intermediate_size=24),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=4),
    "falcon": lambda: transformers.FalconConfig(**COMMON),
    "bloom": lambda: transformers.BloomConfig(vocab_size=64, hidden_size=16, n_layer=2, n_head=4),
    "gptj": lambda: transformers.GPTJConfig(vocab_size=64, n_embd=16, n_layer=2, n_head=4, rotary_dim=4),
    "phi": lambda: transformers.PhiConfig(**COMMON, intermediate_size=24),
    "stablelm": lambda: transformers.StableLmConfig(**LLAMA),
    "gpt_bigcode": lambda: transformers.GPTBigCodeConfig(vocab_size=64, n_embd=16, n_layer=2, n_head=4),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Random tiny models, saved by transformers, by family."""
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            torch.manual_seed(0)
            folder = tmp_path_factory.mktemp(family)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                transformers.AutoModelForCausalLM.from_config(CONFIGS[family]()).save_pretrained(folder)
            made[family] = folder
        return made[family]

    return get


@pytest.mark.parametrize("family", CONFIGS)
def test_every_linear_layer_of_the_blocks_is_found_and_runs_in_the_order_given(family: str, saved: Any) -> None:
    checkpoint = open_checkpoint(saved(family))
    model = load_model(saved(family))
    modules = {layer.name: find_module(model, layer.name) for layer in checkpoint.layers}
    head = model.get_output_embeddings()
    linear = {m for m in model.modules() if isinstance(m, torch.nn.Linear) or is_transposed(m)} - {head}
    assert set(modules.values()) == linear

    inputs: dict[str, Any] = {}
    for name, module in modules.items():
        module.register_forward_pre_hook(lambda _m, args, name=name: inputs.setdefault(name, args[0]))
    with torch.no_grad():
        model(input_ids=torch.arange(8)[None])
    parallel = getattr(model.config, "use_parallel_residual", False) or family in ("falcon", "gptj", "phi")
    ran = [checkpoint.layer(name).group for name in inputs]
    if not parallel:  # attention and MLP side by side may run either way round
        assert ran == sorted(ran)
    for first, second in zip(checkpoint.layers, checkpoint.layers[1:], strict=False):
        if first.group == second.group:
            assert torch.equal(inputs[first.name], inputs[second.name]), (first.name, second.name)


@pytest.mark.parametrize("family", CONFIGS)
def test_the_weights_streamed_are_those_the_model_computes_with(family: str, saved: Any) -> None:
    checkpoint = open_checkpoint(saved(family))
    model = load_model(saved(family))
    for layer, weight in iterate_weights(checkpoint):
        assert weight.shape == (layer.out_features, layer.in_features)
        np.testing.assert_array_equal(weight, get_weight(model, layer.name))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_replaced_weights_act_and_go_again(family: str, saved: Any) -> None:
    model = load_model(saved(family))
    layer = open_checkpoint(saved(family)).layers[0]
    ids = torch.arange(8)[None]
    module = find_module(model, layer.name)
    x = torch.randn(3, layer.in_features)
    bias = 0 if module.bias is None else module.bias
    new = np.random.default_rng(0).standard_normal((layer.out_features, layer.in_features)).astype(np.float32)
    with torch.no_grad():
        before = model(input_ids=ids).logits
        with with_weights(model, {layer.name: new}):
            torch.testing.assert_close(module(x), x @ torch.from_numpy(new).T + bias)
            assert not torch.equal(model(input_ids=ids).logits, before)
        assert torch.equal(model(input_ids=ids).logits, before)
        with pytest.raises(RuntimeError, match="stop"), with_weights(model, {layer.name: new}):
            raise RuntimeError("stop")
        assert torch.equal(model(input_ids=ids).logits, before)


def test_replacements_that_do_not_fit(saved: Any) -> None:
    model = load_model(saved("llama"))
    layer = open_checkpoint(saved("llama")).layers[0].name
    with (
        pytest.raises(CheckpointError, match=r"the weight of .*q_proj must be \[16, 16\], not \[2, 2\]"),
        with_weights(model, {layer: np.ones((2, 2), np.float32)}),
    ):
        pass
    with pytest.raises(CheckpointError, match="the model must have one module named nothing, not 0"):
        find_module(model, "nothing")
    tied = load_model(saved("gpt2"))
    with (
        pytest.raises(CheckpointError, match=r"the weight of lm_head must be its own, but it is shared: .*wte"),
        with_weights(tied, {"lm_head": np.ones((64, 16), np.float32)}),
    ):
        pass


def test_experts_that_transformers_stacks_are_linear_layers_of_their_own(tmp_path: Path) -> None:
    config = transformers.MixtralConfig(**LLAMA, num_local_experts=2, num_experts_per_tok=1)
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    experts = [layer for layer in checkpoint.layers if layer.expert is not None]
    assert {layer.expert for layer in experts} == {0, 1} and len(experts) == 2 * 2 * 3
    assert not any("gate" in layer.name.rsplit(".", 1)[-1] and layer.expert is None for layer in checkpoint.layers)
    model = load_model(tmp_path)
    for layer, weight in iterate_weights(checkpoint):
        np.testing.assert_array_equal(weight, get_weight(model, layer.name))
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(8)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        torch.testing.assert_close(before, plain(input_ids=ids).logits)
        zero = {layer.name: np.zeros((layer.out_features, layer.in_features), np.float32) for layer in experts}
        with with_weights(model, zero):
            assert not torch.equal(model(input_ids=ids).logits, before)
        assert torch.equal(model(input_ids=ids).logits, before)


def test_bf16_shards_are_read_as_torch_reads_them(tmp_path: Path, saved: Any) -> None:
    model = load_model(saved("llama"), torch.bfloat16)
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    checkpoint = open_checkpoint(tmp_path)
    assert len(checkpoint.files) == 2
    for layer, weight in iterate_weights(checkpoint):
        np.testing.assert_array_equal(weight, get_weight(model, layer.name))


def test_a_checkpoint_that_lacks_a_weight_is_refused(tmp_path: Path, saved: Any) -> None:
    from safetensors.torch import load_file, save_file

    source = saved("llama")
    tensors = load_file(source / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((source / "config.json").read_text())
    with pytest.raises(
        CheckpointError, match=r"must hold every weight of its model, but lacks 1, first model\.norm\.weight"
    ):
        load_model(tmp_path)


def test_a_family_that_transformers_does_not_know(tmp_path: Path, saved: Any) -> None:
    source = saved("llama")
    (tmp_path / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    config = (source / "config.json").read_text().replace('"llama"', '"mystery"')
    (tmp_path / "config.json").write_text(config)
    assert not open_checkpoint(tmp_path).architecture.known
    with pytest.raises(CheckpointError, match="must load as a causal model in transformers, but"):
        load_model(tmp_path)
