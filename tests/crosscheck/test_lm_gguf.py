"""GGUF files against the loader of transformers and against the model that they were made of."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from haloquant.lm.checkpoint.reader import open_checkpoint, read_tensor, read_weight  # noqa: E402
from haloquant.lm.quiet_transformers import quiet_transformers  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from support.gguf_files import convert  # noqa: E402

COMMON = {"vocab_size": 262, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {**COMMON, "intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 64}
IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
GPT2 = {"vocab_size": 262, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
WIDE = LLAMA | HEADS | {"hidden_size": 128, "max_position_embeddings": 1 << 17}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
PARTIAL = ROPE | {"partial_rotary_factor": 0.5}
SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
FALCON = {**COMMON, "ffn_hidden_size": 128, "max_position_embeddings": 64}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
CONFIGS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaConfig(**LLAMA, **IDS, tie_word_embeddings=True, attention_bias=False),
    "llama, untied": lambda: transformers.LlamaConfig(**LLAMA, **IDS, rope_theta=5e5),
    "llama, scaled": lambda: transformers.LlamaConfig(**WIDE, **IDS, rope_parameters=SCALED),
    "llama, linear": lambda: transformers.LlamaConfig(
        **LLAMA, **IDS, rope_parameters=ROPE | {"rope_type": "linear", "factor": 4.0}
    ),
    "qwen3, narrow": lambda: transformers.Qwen3Config(**LLAMA, **IDS, head_dim=16),
    "qwen2": lambda: transformers.Qwen2Config(**LLAMA, **IDS),
    "qwen3": lambda: transformers.Qwen3Config(**LLAMA, **IDS, head_dim=128),
    # No file gives the scale of queries: it is that of the width of a head, but for the largest model.
    "gemma2": lambda: transformers.Gemma2Config(
        **LLAMA, **IDS, head_dim=16, sliding_window=4096, query_pre_attn_scalar=16
    ),
    "gemma2, largest": lambda: transformers.Gemma2Config(
        **LLAMA | {"num_hidden_layers": 46}, **IDS, head_dim=16, sliding_window=4096, query_pre_attn_scalar=8
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(  # every sixth layer attends to all positions
        **LLAMA | {"num_hidden_layers": 6},
        **IDS,
        head_dim=16,
        sliding_window=4096,
        query_pre_attn_scalar=16,
        rope_parameters={
            "full_attention": ROPE | {"rope_type": "linear", "rope_theta": 5e5, "factor": 8.0},
            "sliding_attention": ROPE | {"rope_theta": 2e4},
        },
    ),
    "llama, yarn": lambda: transformers.LlamaConfig(
        **LLAMA,
        **IDS,
        rope_parameters=ROPE
        | {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32,
            "beta_fast": 16.0,
            "beta_slow": 2.0,
        },
    ),
    "phi3": lambda: transformers.Phi3Config(**LLAMA, **IDS),
    "gpt2": lambda: transformers.GPT2Config(**GPT2, bos_token_id=0, eos_token_id=1),
    "starcoder2": lambda: transformers.Starcoder2Config(**LLAMA, **IDS, sliding_window=None),
    "stablelm": lambda: transformers.StableLmConfig(**LLAMA, **IDS, rope_parameters=PARTIAL),
    "nemotron": lambda: transformers.NemotronConfig(**LLAMA, **IDS),
    "gemma": lambda: transformers.GemmaConfig(**LLAMA, **IDS, head_dim=16),
    "bloom": lambda: transformers.BloomConfig(vocab_size=262, hidden_size=32, n_layer=2, n_head=4, **IDS),
    "falcon, one key head": lambda: transformers.FalconConfig(**FALCON, **IDS),
    "falcon, groups": lambda: transformers.FalconConfig(**FALCON, **IDS, new_decoder_architecture=True, num_kv_heads=2),
}
MIXTURES: dict[str, Any] = {
    "mixtral": lambda: transformers.MixtralConfig(
        **LLAMA, **IDS, num_local_experts=4, num_experts_per_tok=2, rope_parameters=ROPE
    ),
    "qwen2_moe": lambda: transformers.Qwen2MoeConfig(**LLAMA, **IDS, **EXPERTS, shared_expert_intermediate_size=64),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(**LLAMA, **IDS, **EXPERTS, head_dim=16, norm_topk_prob=True),
}
# transformers reads these files in another way than the models that they were made of: it passes over the positions of
# GPT-2, the scaling and the base of rotary positions, the width of heads, the scale of Gemma's queries and the key
# heads of Falcon. It does not read Gemma 1.
NOT_READ = (
    "gpt2", "stablelm", "llama, scaled", "llama, linear", "llama, yarn", "qwen3, narrow", "phi3", "gemma", "gemma2",
    "gemma2, largest", "gemma3", "falcon, one key head", "falcon, groups",
)  # fmt: skip


def save(family: str, folder: Path) -> Path:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForCausalLM.from_config((CONFIGS | MIXTURES)[family]())
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder)
    return folder


def logits(model: Any) -> Any:
    with torch.inference_mode():
        return model.eval()(input_ids=torch.arange(3, 43)[None]).logits


@pytest.mark.parametrize("family", CONFIGS)
def test_a_file_gives_the_model_that_it_was_made_of_and_that_transformers_reads(family: str, tmp_path: Path) -> None:
    file = convert(save(family, tmp_path / "hf"), tmp_path / "m.gguf")
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        original = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
        ours = load_model(file)
    for name, tensor in original.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], tensor, rtol=0, atol=1e-6), name  # one is added to some norms
    assert torch.allclose(logits(ours), logits(original), atol=1e-5)
    assert getattr(ours.config, "rope_parameters", None) == getattr(original.config, "rope_parameters", None)
    if family in NOT_READ:
        return
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32)
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in theirs.state_dict().items())
    assert torch.equal(logits(ours), logits(theirs))


@pytest.mark.parametrize("family", MIXTURES)
def test_a_mixture_of_experts_has_the_tensors_of_its_checkpoint(family: str, tmp_path: Path) -> None:
    folder = save(family, tmp_path / "hf")
    convert(folder, tmp_path / "m.gguf", parts_tensors=9)
    files = sorted(tmp_path.glob("m-*.gguf"))
    assert len(files) > 2
    ours, theirs = open_checkpoint(files[1]), open_checkpoint(folder)
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    assert ours.tensors.keys() == theirs.tensors.keys()
    for name in theirs.tensors:
        assert np.array_equal(read_tensor(ours, name), read_tensor(theirs, name)), name
    assert torch.equal(logits(load_model(files[0])), logits(load_model(folder)))
    if family == "mixtral":  # transformers takes it for a Llama
        return
    whole = convert(folder, tmp_path / "whole.gguf")
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = transformers.AutoModelForCausalLM.from_pretrained(  # it does not read the sizes of experts from the file
            tmp_path, gguf_file=whole.name, dtype=torch.float32, config=transformers.AutoConfig.from_pretrained(folder)
        )
    assert torch.allclose(logits(read), logits(load_model(folder)), atol=1e-5)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_weights_of_every_type_are_those_that_transformers_dequantizes(kind: str, tmp_path: Path) -> None:
    file = convert(save("llama", tmp_path / "hf"), tmp_path / "m.gguf", kind)
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32)
    state = theirs.state_dict()
    checkpoint = open_checkpoint(file)
    assert {t.dtype for n, t in checkpoint.tensors.items() if "proj" in n} == {kind}
    for layer in checkpoint.layers:
        assert np.array_equal(read_weight(checkpoint, layer), state[layer.tensor].numpy())
    for name in checkpoint.tensors:
        assert np.array_equal(read_tensor(checkpoint, name), state[name].numpy())
