"""The Hessian of value rows against the running model: how much an error in a value row changes the heads' outputs."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from haloquant.lm.calibration.by_block import collect_by_block  # noqa: E402
from haloquant.lm.calibration.in_memory import collect, cut_windows  # noqa: E402
from haloquant.lm.calibration.statistics_file import load_statistics, save_statistics  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.swap_weights import find_module, get_weight, with_weights  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from haloquant.quant.rivals.registry import rival  # noqa: E402

COMMON = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {**COMMON, "intermediate_size": 24, "num_key_value_heads": 2}
LATENT = {
    **COMMON, "intermediate_size": 24, "num_key_value_heads": 4, "kv_lora_rank": 8, "q_lora_rank": 12,
    "qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "v_head_dim": 4,
}  # fmt: skip
# By family: its configuration, the layer that holds the values, the layer that reads the heads, and value heads.
CASES: dict[str, tuple[Any, str, str, int]] = {
    "llama": (lambda: transformers.LlamaConfig(**LLAMA), "self_attn.v_proj", "self_attn.o_proj", 2),
    "mistral, sliding window": (
        lambda: transformers.MistralConfig(**LLAMA, sliding_window=5), "self_attn.v_proj", "self_attn.o_proj", 2,
    ),
    "gemma2, capped scores": (
        lambda: transformers.Gemma2Config(**LLAMA, head_dim=4, sliding_window=5),
        "self_attn.v_proj", "self_attn.o_proj", 2,
    ),
    "opt": (
        lambda: transformers.OPTConfig(**COMMON, ffn_dim=24, word_embed_proj_dim=16),
        "self_attn.v_proj", "self_attn.out_proj", 4,
    ),
    "gpt_neox, fused by head": (
        lambda: transformers.GPTNeoXConfig(**COMMON, intermediate_size=24),
        "attention.query_key_value", "attention.dense", 4,
    ),
    "gpt2, fused": (
        lambda: transformers.GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=4), "attn.c_attn", "attn.c_proj", 4,
    ),
    "phi3, fused and grouped": (
        lambda: transformers.Phi3Config(**LLAMA, pad_token_id=0), "self_attn.qkv_proj", "self_attn.o_proj", 2,
    ),
    "falcon, one value head": (
        lambda: transformers.FalconConfig(**COMMON, multi_query=True, alibi=False),
        "self_attention.query_key_value", "self_attention.dense", 1,
    ),
    "bloom, alibi": (
        lambda: transformers.BloomConfig(vocab_size=64, hidden_size=16, n_layer=2, n_head=4),
        "self_attention.query_key_value", "self_attention.dense", 4,
    ),
    "minicpm3, latent": (
        lambda: transformers.MiniCPM3Config(**LATENT), "self_attn.kv_b_proj", "self_attn.o_proj", 4,
    ),
}  # fmt: skip
TOKENS = np.random.default_rng(0).integers(3, 64, 400)
WINDOWS = cut_windows(TOKENS, 16, 12)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Random tiny models by family, with attention that is far from uniform: a checkpoint and the model."""
    made: dict[str, Any] = {}

    def get(family: str) -> Any:
        if family not in made:
            torch.manual_seed(0)
            folder = tmp_path_factory.mktemp("model")
            model = transformers.AutoModelForCausalLM.from_config(CASES[family][0]())
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim == 2:
                        parameter.mul_(8)
            model.save_pretrained(folder)
            made[family] = (open_checkpoint(folder), load_model(folder))
        return made[family]

    return get


def layer_of_block(checkpoint: Any, block: int, name: str) -> str:
    return next(layer.name for layer in checkpoint.layers if layer.block == block and layer.name.endswith(name))


def heads_output(model: Any, name: str) -> Any:
    """Return the input of the attention's output projection for all windows, in float64."""
    kept: list[Any] = []
    handle = find_module(model, name).register_forward_pre_hook(lambda _m, args: kept.append(args[0].double()))
    with torch.no_grad():
        model(input_ids=torch.from_numpy(WINDOWS), use_cache=False)
    handle.remove()
    return kept[0].reshape(WINDOWS.size, -1)


def value_part(statistics: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the Hessian of the value rows, and their indices."""
    if statistics.value_rows is None:
        return statistics.hessian, np.arange(rows)
    return statistics.value_hessian, np.nonzero(statistics.value_rows)[0]


@pytest.mark.parametrize("family", CASES)
@pytest.mark.parametrize("by_block", [False, True])
def test_the_form_is_the_squared_change_of_the_heads_outputs(family: str, by_block: bool, saved: Any) -> None:
    """Judge: the same error in one row of every value head, and the change that the model shows."""
    checkpoint, model = saved(family)
    _, values, reader, value_heads = CASES[family]
    if by_block:
        found = {layer.name: known for layer, known in collect_by_block(checkpoint, WINDOWS, fisher="none")}
    else:
        found = collect(model, TOKENS, [x.name for x in checkpoint.layers], window=16, samples=12, fisher="none")
    for block in (0, 1):
        name, output = layer_of_block(checkpoint, block, values), layer_of_block(checkpoint, block, reader)
        weight = get_weight(model, name)
        hessian, rows = value_part(found[name], weight.shape[0])
        assert "weighted by attention" in found[name].source
        assert rows.size % value_heads == 0
        error = np.random.default_rng(block).standard_normal(weight.shape[1]).astype(np.float32)
        changed = weight.copy()
        changed[rows.reshape(value_heads, -1)[:, 1]] += error
        before = heads_output(model, output)
        with with_weights(model, {name: changed}):
            after = heads_output(model, output)
        squares = float((after - before).square().sum())
        heads = 4
        form = float(error.astype(np.float64) @ hessian @ error) * WINDOWS.size * heads / 2
        assert form == pytest.approx(squares, rel=1e-3)
        plain = collect(model, TOKENS, [name], window=16, samples=12, fisher="none", value_hessian="inputs")[name]
        assert plain.value_rows is None and "attention" not in plain.source
        assert np.linalg.norm(plain.hessian - hessian) > 0.05 * np.linalg.norm(hessian)


def test_only_value_rows_are_weighted(saved: Any) -> None:
    checkpoint, model = saved("gpt2, fused")
    names = [layer.name for layer in checkpoint.layers]
    weighted = collect(model, TOKENS, names, window=16, samples=12, fisher="none")
    plain = collect(model, TOKENS, names, window=16, samples=12, fisher="none", value_hessian="inputs")
    for name in names:
        np.testing.assert_array_equal(weighted[name].hessian, plain[name].hessian)
        assert (weighted[name].value_rows is not None) == name.endswith("c_attn")
    np.testing.assert_array_equal(np.nonzero(weighted[names[0]].value_rows)[0], np.arange(32, 48))


@pytest.mark.parametrize("block", [0, 1])
def test_rounding_values_for_attention_disturbs_the_block_less(block: int) -> None:
    """Judge: the attention's output in a model whose v_proj is rounded by GPTQ with either Hessian."""
    torch.manual_seed(0)
    sizes = {**LLAMA, "hidden_size": 64, "intermediate_size": 96}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    tokens = np.random.default_rng(0).integers(3, 64, 800)
    ids = torch.from_numpy(cut_windows(tokens, 32, 24))
    name, output = (f"model.layers.{block}.self_attn.{part}" for part in ("v_proj", "o_proj"))
    weight = get_weight(model, name)

    def attention() -> Any:
        kept: list[Any] = []
        handle = find_module(model, output).register_forward_hook(lambda _m, _a, made: kept.append(made.double()))
        with torch.no_grad():
            model(input_ids=ids, use_cache=False)
        handle.remove()
        return kept[0]

    wanted, errors = attention(), {}
    for kind in ("attention", "inputs"):
        known = collect(model, tokens, [name], window=32, samples=24, fisher="none", value_hessian=kind)[name]
        with with_weights(model, {name: rival("gptq-w3").quantize(weight, known, layer=name).weight}):
            errors[kind] = float((attention() - wanted).square().sum())
    assert errors["attention"] < 0.97 * errors["inputs"]


def test_windows_in_one_batch_are_read_apart(saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of summing, and pieces of a few queries, give the same matrix as one window at a time."""
    checkpoint, model = saved("mistral, sliding window")
    name = layer_of_block(checkpoint, 0, "v_proj")

    def found() -> np.ndarray:
        return collect(model, TOKENS, [name], window=64, samples=6, fisher="none")[name].hessian

    together = found()
    monkeypatch.setattr("haloquant.lm.calibration.in_memory.BATCH_TOKENS", 1)
    np.testing.assert_allclose(found(), together, rtol=1e-4, atol=1e-6 * together.max())
    monkeypatch.setattr("haloquant.lm.calibration.value_hessian._CHUNK", 4 * 64 * 7)
    np.testing.assert_allclose(found(), together, rtol=1e-4, atol=1e-6 * together.max())


def test_value_rows_survive_the_disk(saved: Any, tmp_path: Any) -> None:
    checkpoint, model = saved("gpt2, fused")
    found = collect(model, TOKENS, [x.name for x in checkpoint.layers], window=16, samples=2, fisher="none")
    save_statistics(tmp_path / "statistics.safetensors", found)
    again = load_statistics(tmp_path / "statistics.safetensors")
    for name, known in found.items():
        if known.value_rows is None:
            assert again[name].value_rows is None and again[name].value_hessian is None
        else:
            np.testing.assert_array_equal(again[name].value_rows, known.value_rows)
            np.testing.assert_array_equal(again[name].value_hessian, known.value_hessian)
