"""Families of decoders from quantization to a packed model that runs and is saved again; transformers is the judge.

Each stands for a kind: experts with a tensor each, stacked, stacked the other way round; blocks behind the last; state
spaces, also where the model's code reads a layer's weight itself; blocks that return lists; other names in config.json;
the text model within a model of text and images, or of sound; layers that blocks share; a model of several models of
bytes; a head that the whole model ties and its text part does not. `bench/model_families.py` does the
same for every decoder of transformers.
"""

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

import haloquant  # noqa: E402
from haloquant.api.models.quantization import Quantized  # noqa: E402
from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.checkpoint.full_precision_layers import left_layers  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.packed.reader import iterate_layers, open_packed  # noqa: E402
from haloquant.lm.swap_weights import with_weights  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from haloquant.quant.layer import dequantize  # noqa: E402
from support.draws import daily  # noqa: E402
from support.model_families import TEXT, save_model, tiny_config  # noqa: E402

KINDS = (
    "mixtral",
    "gpt_oss",
    "bamba",
    "mamba",
    "mpt",
    "gemma3",
    "openai-gpt",
    "dbrx",
    "granitemoe",
    "llama4_text",
    "deepseek_v4",
    "rwkv",
    "zamba",
    "blt",
    "got_ocr2",
    "gemma4",
)


def logits(model: Any) -> Any:
    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 27)[None], use_cache=False).logits


def quantized(model: Path, out: Path, **settings: Any) -> Quantized:
    text = out.with_suffix(".txt")
    text.write_text(TEXT)
    given = {"goal": "acc-opt", "calibration": text, "samples": 2, "tile": 32, "progress": False} | settings
    return haloquant.quantize(model, out, **given)


@pytest.mark.thinned
@pytest.mark.parametrize("kind", daily(KINDS, KINDS[:8]))
def test_a_packed_model_of_each_kind_computes_with_its_dequantized_weights(kind: str, tmp_path: Path) -> None:
    source, out, again = tmp_path / "model", tmp_path / "packed", tmp_path / "again"
    plain = save_model(source, tiny_config(kind))
    quantized(source, out)
    whole, packed = load_model(source), haloquant.load(out, dtype=torch.float32)
    torch.testing.assert_close(logits(whole), logits(plain.float()))  # experts of their own compute the same
    weights = {layer.layer: dequantize(layer) for layer in iterate_layers(open_packed(out))}
    with with_weights(whole, weights) as replaced:
        torch.testing.assert_close(logits(packed), logits(replaced), rtol=1e-4, atol=1e-4)
    packed.save_pretrained(again)
    haloquant.verify(again)
    torch.testing.assert_close(logits(haloquant.load(again, dtype=torch.float32)), logits(packed), rtol=0, atol=0)


def test_weights_that_a_model_divides_when_it_first_runs(tmp_path: Path) -> None:
    """RWKV divides weights of its later blocks, and hidden states alike, which only the norms' epsilon makes differ."""
    source, out = tmp_path / "model", tmp_path / "packed"
    config = tiny_config("rwkv")
    config.rescale_every = 1
    save_model(source, config)
    quantized(source, out, calibration="none", samples=32)
    weights = {layer.layer: dequantize(layer) for layer in iterate_layers(open_packed(out))}
    whole = transformers.AutoModelForCausalLM.from_pretrained(source)
    with with_weights(whole, weights) as replaced:
        wanted = logits(replaced)
    for model in (haloquant.load(out, dtype=torch.float32), transformers.AutoModelForCausalLM.from_pretrained(out)):
        assert (logits(model).float() - wanted).norm() < 5e-3 * wanted.norm()


def test_experts_that_no_token_reached_are_counted_and_get_the_mean(tmp_path: Path) -> None:
    source, out = tmp_path / "model", tmp_path / "packed"
    model = save_model(source, tiny_config("mixtral"))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate.weight.zero_()
    model.save_pretrained(source)
    made = quantized(source, out, samples=1)
    few = made.to_dict()["experts_with_few_tokens"]
    assert isinstance(few, dict) and set(few.values()) == {0}
    experts = {name.split(".experts.")[1].split(".")[0] for name in few}
    assert len(few) == 12 and len(experts) == 2  # equal logits: the router takes the same two for every token
    said = "12 of 24 layers of experts saw fewer calibration tokens than a quarter of their inputs, 12 of them none"
    assert any(said in note for note in made.notes)
    left = {x["name"]: x["reason"] for x in made.to_dict()["left_in_full_precision"]}  # type: ignore[union-attr]
    assert left["model.layers.0.block_sparse_moe.gate"] == "routers and gates of experts"
    assert left["lm_head"] == "the output head"


def test_layers_that_no_token_reached_are_named(tmp_path: Path) -> None:
    """Without images a Llama that reads them passes over its blocks of cross-attention."""
    source, out = tmp_path / "model", tmp_path / "packed"
    save_model(source, tiny_config("mllama"))
    said = [note for note in quantized(source, out).notes if note.startswith("no calibration token")]
    assert len(said) == 1 and "reached 7 layers, as the model does not run them on text alone" in said[0]
    assert "language_model.model.layers.*.cross_attn.q_proj" in said[0]
    haloquant.load(out)


def test_what_is_left_of_experts_is_matrices(tmp_path: Path) -> None:
    """The experts of DBRX are no modules and stay; a stack of biases, as in GPT-OSS, is no matrix that is left."""
    left = {}
    for kind in ("gpt_oss", "dbrx"):
        save_model(tmp_path / kind, tiny_config(kind))
        left[kind] = {x.name for x in left_layers(open_checkpoint(tmp_path / kind)) if "experts" in x.name}
    parts = ("v1", "w1", "w2")
    assert left == {
        "gpt_oss": set(),
        "dbrx": {f"transformer.blocks.{block}.ffn.experts.mlp.{part}" for block in range(2) for part in parts},
    }


def test_experts_may_stay_and_single_ones_too(tmp_path: Path) -> None:
    source = tmp_path / "model"
    save_model(source, tiny_config("gpt_oss"))
    for name, pattern, packed in (("none", "experts", 8), ("one", r"layers\.1\..*experts\.2\.", 22)):
        made = quantized(source, tmp_path / name, exclude=[pattern])
        assert made.layers == packed
        model = haloquant.load(tmp_path / name, dtype=torch.float32)
        whole = load_model(source)
        weights = {layer.layer: dequantize(layer) for layer in iterate_layers(open_packed(tmp_path / name))}
        with with_weights(whole, weights) as replaced:
            torch.testing.assert_close(logits(model), logits(replaced), rtol=1e-4, atol=1e-4)


def test_blocks_behind_the_last_stay_and_are_named(tmp_path: Path) -> None:
    source, out = tmp_path / "model", tmp_path / "packed"
    save_model(source, tiny_config("deepseek_v3"))
    file = source / "model.safetensors"
    tensors = load_file(file)
    extra = {
        name.replace("layers.1.", "layers.2."): value.clone() for name, value in tensors.items() if "layers.1." in name
    }
    save_file(tensors | extra | {"model.layers.2.eh_proj.weight": torch.randn(64, 128)}, file, {"format": "pt"})
    made = quantized(source, out)
    assert not any("layers.2." in name for name in open_packed(out).config.layers)
    reasons = {x.reason for x in made.left if ".layers.2." in x.name}
    assert reasons == {"behind the last of 2 blocks"}
    haloquant.load(out)


def test_names_without_prefix_are_saved_again_as_they_are_called_then(tmp_path: Path) -> None:
    source, out, again = tmp_path / "model", tmp_path / "packed", tmp_path / "again"
    save_model(source, tiny_config("gpt2"))
    file = source / "model.safetensors"
    save_file({n.removeprefix("transformer."): t for n, t in load_file(file).items()}, file, {"format": "pt"})
    quantized(source, out)
    first = haloquant.load(out, dtype=torch.float32)
    first.save_pretrained(again)
    layers = json.loads((again / "config.json").read_text())["quantization_config"]["layers"]
    assert layers[0] == "transformer.h.0.attn.c_attn"
    torch.testing.assert_close(logits(haloquant.load(again, dtype=torch.float32)), logits(first), rtol=0, atol=0)


def test_a_head_that_is_missing_and_not_tied_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "model"
    save_model(source, tiny_config("llama"))
    file, config = source / "model.safetensors", source / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tie_word_embeddings": False}))
    save_file({n: t for n, t in load_file(file).items() if n != "lm_head.weight"}, file, {"format": "pt"})
    for calibration in ("none", tmp_path / "text.txt"):
        (tmp_path / "text.txt").write_text(TEXT)
        with pytest.raises(CheckpointError, match=r"must hold the output head .* set tie_word_embeddings to"):
            quantized(source, tmp_path / "packed", calibration=calibration)


def test_infinity_in_a_configuration_is_read_and_written(tmp_path: Path) -> None:
    source, out = tmp_path / "model", tmp_path / "packed"
    save_model(source, tiny_config("falcon_h1"))
    config = source / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"time_step_limit": [0.0, float("inf")]}))
    assert "Infinity" in config.read_text()
    quantized(source, out, calibration="none")
    assert json.loads((out / "config.json").read_text())["time_step_limit"] == [0.0, float("inf")]
    haloquant.load(out)


def test_the_machine_model_has_the_layers_of_the_model(tmp_path: Path) -> None:
    source, out = tmp_path / "model", tmp_path / "packed"
    save_model(source, tiny_config("qwen3_moe"))
    quantized(source, out, calibration="none", tile=128)
    found = haloquant.simulate(out, prefill_tokens=8, context_tokens=16)
    decode = {layer.layer for layer in found.simulation("decode").layers}
    assert {f"model.layers.0.mlp.experts.{e}.gate_proj" for e in (0, 1)} <= decode  # two experts for each token
    assert "model.layers.0.mlp.experts.2.gate_proj" not in decode
    prefill = {layer.layer for layer in found.simulation("prefill").layers}
    assert "model.layers.0.mlp.experts.3.down_proj" in prefill
    assert not any(name.endswith("mlp.gate_proj") for name in prefill)


@pytest.mark.thinned
def test_a_configuration_alone_has_the_layers_of_its_model(tmp_path: Path) -> None:
    for kind in daily(("gpt_neox", "mixtral"), ["mixtral"]):
        save_model(tmp_path / kind, tiny_config(kind))
        whole, alone = (haloquant.forecast(tmp_path / kind / name) for name in (".", "config.json"))
        assert (whole.layers, whole.plan.weights) == (alone.layers, alone.plan.weights)
