"""Packed models in transformers: loading, generating, saving again, and what goes wrong without `import haloquant`."""

import json
import shutil
import subprocess
import sys
import textwrap
from copy import deepcopy

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import haloquant
from haloquant.errors import CheckpointError, FormatError, MissingExtraError
from haloquant.jobs.evaluation import open_model
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.lm.export.packed import export_packed
from haloquant.lm.integrations import transformers as integration
from haloquant.lm.integrations.transformers import HaloConfig
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.quant.layer import dequantize
from support.draws import daily
from support.halo_layers import codebooks
from support.tiny_model import quantized, save_gpt2, save_llama

PROFILE = {"profile_name": "booth8", "profile_sha256": "ab" * 32}
IDS = torch.arange(1, 25)[None]


def make(folder, save, books=None, tile=32, sparse=0.005, **changes):
    """A packed model, and the same model with the dequantized weights in ordinary linear layers."""
    checkpoint = open_checkpoint(save(folder / "plain", **changes))
    layers = quantized(checkpoint, codebooks() if books is None else books, tile, sparse)
    export_packed(checkpoint, layers, folder / "packed", **PROFILE)
    twin = AutoModelForCausalLM.from_pretrained(folder / "plain")
    modules = dict(twin.named_modules())
    for q in layers:
        name = q.layer if q.layer in modules else f"transformer.{q.layer}"
        weight = torch.from_numpy(dequantize(q)).to(twin.dtype)
        module = modules[name]
        module.weight.data = weight.T.contiguous() if type(module).__name__ == "Conv1D" else weight
    return folder / "packed", twin.eval()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make(tmp_path_factory.mktemp("hf"), save_llama)


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny[0], tmp_path / "copy")


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=200)


def close(model, twin) -> bool:
    with torch.no_grad():
        a, b = model(IDS).logits.float(), twin(IDS).logits.float()
    return bool((a - b).abs().max() <= 2e-6 * max(1.0, float(b.abs().max())))


@pytest.mark.parametrize(
    ("save", "changes"),
    [
        (save_llama, {"tied": True}),
        (save_llama, {"tied": False}),
        (save_gpt2, {}),
    ],
    ids=["tied", "untied", "conv1d"],
)
def test_logits_are_those_of_the_dequantized_weights(tmp_path, save, changes) -> None:
    folder, twin = make(tmp_path, save, **changes)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(isinstance(module, HaloLinear) for module in model.modules()) == len(
        model.config.quantization_config.layers
    )
    assert close(model, twin)


def test_tied_embeddings_stay_tied(tiny) -> None:
    model = haloquant.load(tiny[0])
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_generates_what_the_twin_generates(tiny) -> None:
    model = haloquant.load(tiny[0])
    settings = {"max_new_tokens": 12, "do_sample": False}
    assert torch.equal(model.generate(IDS, **settings), tiny[1].generate(IDS, **settings))


def test_device_map_and_dtype(tiny) -> None:
    model = haloquant.load(tiny[0], device_map="cpu", dtype=torch.bfloat16)
    assert model.model.layers[0].mlp.up_proj.weight_scale.dtype == torch.float16
    assert model.model.layers[0].mlp.up_proj.bias is None
    assert model.model.embed_tokens.weight.dtype == torch.bfloat16
    assert model(IDS).logits.dtype == torch.bfloat16
    assert haloquant.load(tiny[0], device_map="auto")(IDS).logits.dtype == torch.float32


def test_a_cast_keeps_the_scales(tiny) -> None:
    model = haloquant.load(tiny[0])
    before = model.model.layers[0].mlp.up_proj.weight_scale.clone()
    model.to(torch.bfloat16)
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight_scale, before)


def test_save_pretrained_writes_the_same_bytes(tiny, tmp_path) -> None:
    haloquant.load(tiny[0]).save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tiny[0] / "model.safetensors").read_bytes()
    haloquant.verify(tmp_path / "again")
    assert close(haloquant.load(tmp_path / "again"), tiny[1])


def test_save_in_shards_and_in_another_type_can_be_verified(tiny, tmp_path) -> None:
    haloquant.load(tiny[0], dtype=torch.bfloat16).save_pretrained(tmp_path / "again", max_shard_size="30KB")
    assert len(list((tmp_path / "again").glob("*.safetensors"))) > 1
    haloquant.verify(tmp_path / "again")
    haloquant.load(tmp_path / "again")


def test_dequantize_gives_an_ordinary_model(tiny, tmp_path) -> None:
    model = haloquant.load(tiny[0]).dequantize()
    assert not any(isinstance(module, HaloLinear) for module in model.modules())
    model.save_pretrained(tmp_path / "plain")
    assert "quantization_config" not in json.loads((tmp_path / "plain/config.json").read_text())
    assert close(AutoModelForCausalLM.from_pretrained(tmp_path / "plain"), tiny[1])


def test_int8_activations_are_those_that_an_evaluation_rounds_to(tiny) -> None:
    plain, rounded = haloquant.load(tiny[0]), haloquant.load(tiny[0], activations="int8")
    layers = [name for name, module in rounded.named_modules() if isinstance(module, HaloLinear)]
    assert "int8_activations=True" in repr(rounded) and "int8_activations" not in repr(plain)
    for ids in (IDS, IDS[:, :5]):  # many tokens are multiplied as floats, few as integers
        with torch.no_grad():
            found, exact = rounded(ids).logits, plain(ids).logits
            with activations_per_token(plain, layers):
                wanted = plain(ids).logits
        assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()
        assert (found - exact).abs().max() > 1e-4 * wanted.abs().max()
    ids = rounded.generate(IDS, max_new_tokens=4, do_sample=False)
    assert ids.shape == (1, IDS.shape[1] + 4)
    embedded = rounded.get_input_embeddings()(IDS).detach().requires_grad_()
    rounded(inputs_embeds=embedded).logits.sum().backward()
    assert embedded.grad.abs().sum() > 0


def test_activations_that_there_are_not(tiny) -> None:
    done = run(f"""
    import haloquant
    try:
        haloquant.load({str(tiny[0])!r}, activations="int4")
    except haloquant.errors.InputError as error:
        print(error)
    """)
    assert done.stdout.strip() == "activations must be float, int8 or mixed, not 'int4'", done.stderr


def test_gradients_flow_to_the_input(tiny) -> None:
    module = haloquant.load(tiny[0]).model.layers[0].mlp.down_proj
    x = torch.randn(3, 172, requires_grad=True)
    module(x).sum().backward()
    assert torch.allclose(x.grad[0], module.dequantize(torch.float32).sum(0), atol=1e-5)


@pytest.mark.slow
def test_never_a_full_precision_copy(tiny, tmp_path) -> None:
    """The peak of memory while a model of 14 M weights is loaded stays below a bf16 copy of its weights (28 MB)."""
    checkpoint = open_checkpoint(save_llama(tmp_path / "plain", hidden_size=512, intermediate_size=4096))
    export_packed(checkpoint, quantized(checkpoint, codebooks(), 128), tmp_path / "packed", **PROFILE)
    done = run(f"""
    import resource, haloquant
    haloquant.load({str(tiny[0])!r})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = haloquant.load({str(tmp_path / "packed")!r})
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    weights = sum(m.in_features * m.out_features for m in model.modules() if type(m).__name__ == "HaloLinear")
    print(1024 * (after - before), weights)
    """)
    assert done.returncode == 0, done.stderr
    peak, weights = map(int, done.stdout.split()[-2:])
    assert weights > 14e6
    assert peak < 2 * weights


ORDERS = (
    "import haloquant, transformers",
    "import transformers, haloquant",
    "import transformers.quantizers.auto, haloquant",
    "import haloquant.lm.integrations.transformers",
)


@pytest.mark.slow
@pytest.mark.thinned
def test_any_order_of_imports(tiny) -> None:
    """A process that has imported numba, torch, and what is slow of it and of scipy, forks a child for each order."""
    orders = daily(ORDERS, ORDERS[2:])
    done = run(f"""
    import os, numba, torch, torch._dynamo, torch.distributed.tensor, scipy.optimize
    for order in {orders!r}:
        child = os.fork()
        if child == 0:
            exec(order)
            from transformers import AutoModelForCausalLM
            model = AutoModelForCausalLM.from_pretrained({str(tiny[0])!r})
            print(type(model.model.layers[0].mlp.up_proj).__name__, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    """)
    assert done.stdout.split() == ["HaloLinear"] * len(orders), done.stderr


def test_import_haloquant_is_light() -> None:
    done = run(
        "import haloquant, sys; print([m for m in ('torch', 'transformers', 'numba', 'scipy') if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_without_torch_the_door_says_what_to_install(tiny) -> None:
    done = run(f"""
    import sys
    sys.modules["torch"] = sys.modules["transformers"] = None  # as if they were not installed
    import haloquant
    print(haloquant.verify({str(tiny[0])!r}).layers)
    try:
        haloquant.load({str(tiny[0])!r})
    except haloquant.errors.MissingExtraError as error:
        print(error)
    """)
    assert done.stdout.splitlines() == [
        "14",
        "running a model needs torch and transformers: pip install 'haloquant[lm]'",
    ], done.stderr


def test_who_forgets_the_import_gets_an_error_and_no_random_weights(tiny) -> None:
    """Stock transformers knows no method "halo", says so, and then would fill the weights with random numbers. The
    empty tensor under each old name makes that an error about shapes."""
    done = run(f"""
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained({str(tiny[0])!r})
    print("LOADED")
    """)
    assert "LOADED" not in done.stdout
    assert "Unknown quantization type, got halo" in done.stderr
    assert "mismatch" in done.stderr.lower()


def test_a_model_in_full_precision_is_not_quantized_on_loading(tiny, tmp_path) -> None:
    config = json.loads((tiny[0] / "config.json").read_text())["quantization_config"]
    with pytest.raises(ValueError, match="require the model to be pre-quantized"):
        AutoModelForCausalLM.from_pretrained(save_llama(tmp_path / "m"), quantization_config=HaloConfig(**config))


def test_tokenizer_is_found_beside_the_model(tmp_path) -> None:
    from tokenizers import Tokenizer, models

    plain = save_llama(tmp_path / "plain")
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, "a"))).save_pretrained(plain)
    checkpoint = open_checkpoint(plain)
    export_packed(checkpoint, quantized(checkpoint, codebooks()), tmp_path / "packed", **PROFILE)
    assert AutoTokenizer.from_pretrained(tmp_path / "packed")("b").input_ids == [1]


# --- bad input --------------------------------------------------------------------------------------------------------


def rewrite(folder, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_flipped_bytes_are_refused_by_from_pretrained(copy) -> None:
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-5000] ^= 16
    (copy / "model.safetensors").write_bytes(data)
    for door in (haloquant.load, AutoModelForCausalLM.from_pretrained):
        with pytest.raises(FormatError, match="their SHA-256 is not"):
            door(copy)


def test_a_missing_tensor_is_refused(copy) -> None:
    rewrite(copy, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight_scale"))
    with pytest.raises(FormatError, match=r"layers.1.mlp.up_proj must have a tensor weight_scale, and it"):
        AutoModelForCausalLM.from_pretrained(copy)


def test_a_missing_norm_is_refused_behind_a_right_digest(copy) -> None:
    rewrite(copy, lambda tensors: tensors.pop("model.norm.weight"))
    reseal(copy)
    with pytest.raises(FormatError, match=r"must hold every tensor of its class, but lacks 1, first model.norm.weight"):
        AutoModelForCausalLM.from_pretrained(copy)


def reseal(folder) -> None:
    from haloquant.lm.packed.config import digest
    from haloquant.lm.packed.reader import open_packed, tensor_digest

    model = open_packed(folder)
    config = json.loads((folder / "config.json").read_text())
    version = model.config.version
    sha = digest(model.config, {name: tensor_digest(tensor, version) for name, tensor in model.tensors.items()})
    config["quantization_config"]["sha256"] = sha
    (folder / "config.json").write_text(json.dumps(config))


def damage_map(tensors):
    key = "model.layers.0.mlp.up_proj.weight_tile_class"
    tensors[key] = tensors[key][:1].clone()


def damage_class(tensors):
    tensors["model.layers.0.mlp.up_proj.weight_tile_class"][0, 0] = 7


def damage_scale(tensors):
    tensors["model.layers.0.mlp.up_proj.weight_scale"][0, 0] = float("nan")


def damage_shape(tensors):
    tensors["model.layers.0.mlp.up_proj.weight_shape"][0] = 64


def damage_kind(tensors):
    key = "model.layers.0.mlp.up_proj.weight_scale"
    tensors[key] = tensors[key].float()


BEHIND = {
    "map": (damage_map, r"weight_tile_class of .* must be uint8 of shape \(6, 2\), not uint8 of shape \(1, 2\)"),
    "class": (damage_class, "must name classes below 2, not 7"),
    "scale": (damage_scale, "weight_scale of .* must be finite"),
    "shape": (damage_shape, "must be uint8 of shape|must be packed as"),
    "kind": (damage_kind, "weight_scale of .* must be float16"),
}


@pytest.mark.parametrize("name", BEHIND)
def test_tensors_that_do_not_fit_are_refused_behind_a_right_digest(copy, name) -> None:
    change, sentence = BEHIND[name]
    rewrite(copy, change)
    reseal(copy)
    with pytest.raises(FormatError, match=sentence):
        AutoModelForCausalLM.from_pretrained(copy)


def test_a_model_of_version_1_loads_and_is_saved_byte_for_byte(tiny, copy, tmp_path) -> None:
    """Version 1 kept running sums of the sparse weights per row, and its digest took the SHA-256 of every tensor."""
    config = json.loads((copy / "config.json").read_text())
    config["quantization_config"]["version"] = 1
    (copy / "config.json").write_text(json.dumps(config))

    def older(tensors):
        for name in [name for name in tensors if name.endswith("sparse_row_count")]:
            counts = tensors.pop(name).to(torch.int32)
            sums = torch.nn.functional.pad(counts.cumsum(0, dtype=torch.int32), (1, 0))
            tensors[name.replace("row_count", "row_ptr")] = sums

    rewrite(copy, older)
    with pytest.raises(FormatError, match="their SHA-256 is not"):
        haloquant.load(copy)
    reseal(copy)
    (copy / "halo_manifest.json").unlink()
    model = haloquant.load(copy)
    assert close(model, tiny[1])
    model.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (copy / "model.safetensors").read_bytes()
    assert haloquant.verify(tmp_path / "again") == haloquant.verify(copy)


def test_another_version_is_refused(copy) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["quantization_config"]["version"] = 9
    (copy / "config.json").write_text(json.dumps(config))
    for door in (haloquant.load, AutoModelForCausalLM.from_pretrained):
        with pytest.raises(FormatError, match="must be of format version 1 to 5, not 9: install a newer haloquant"):
            door(copy)


def test_an_old_release_of_transformers_is_refused(tiny, monkeypatch) -> None:
    monkeypatch.setattr(integration, "LEAST_TRANSFORMERS", (99, 0))
    with pytest.raises(MissingExtraError, match=rf"transformers 99\.0 or newer, not {transformers.__version__}: pip"):
        haloquant.load(tiny[0])


def test_another_profile_is_refused(tiny) -> None:
    with pytest.raises(FormatError, match="must be made for the profile 000000000000, not for booth8"):
        haloquant.load(tiny[0], profile_sha256="0" * 64)
    with pytest.raises(FormatError, match=r"must be made for the profile .*, not for booth8"):
        haloquant.load(tiny[0], profile="default")


def test_an_unknown_model_is_one_sentence(copy) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["model_type"] = "nonesuch"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="must load as a causal model in transformers, but: "):
        haloquant.load(copy)


def test_a_path_that_does_not_exist_is_one_sentence(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="nothing is fetched from a hub"):
        haloquant.load(tmp_path / "nonesuch")


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, for names that peft uses
def test_adapters_of_peft_train_on_a_packed_model(tiny):
    """The packed weights stay; the twin with dequantized weights gets the same adapters and the same gradients."""
    import peft

    asked = {"r": 4, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    models = []
    for model in (haloquant.load(tiny[0]), deepcopy(tiny[1])):
        torch.manual_seed(0)
        models.append(peft.get_peft_model(model, peft.LoraConfig(**asked)))
    packed, twin = models
    with torch.no_grad():
        plain = haloquant.load(tiny[0])(IDS).logits
        torch.testing.assert_close(packed(IDS).logits, twin(IDS).logits, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(packed(IDS).logits, plain, atol=1e-3)
        with packed.disable_adapter():
            torch.testing.assert_close(packed(IDS).logits, plain, rtol=1e-5, atol=1e-5)
    for model in models:
        model(IDS, labels=IDS).loss.backward()
    gradients = {name: value.grad for name, value in packed.named_parameters() if value.requires_grad}
    assert gradients and all("lora_" in name for name in gradients)
    wanted = dict(twin.named_parameters())
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name].grad, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_adapter_saved_beside_a_packed_model_runs_with_it_and_is_said(tiny, copy):
    import peft

    asked = {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    torch.manual_seed(0)
    adapted = peft.get_peft_model(haloquant.load(tiny[0]), peft.LoraConfig(**asked))
    adapted.save_pretrained(copy)
    opened = open_model(copy)
    assert opened.notes == ("the adapter beside the packed model runs with it, in full precision",)
    with torch.no_grad():
        torch.testing.assert_close(opened.model(IDS).logits, adapted(IDS).logits, rtol=1e-4, atol=1e-4)
    assert haloquant.verify(copy).layers == 14
    with pytest.raises(FormatError, match=r"must hold no adapter_config\.json to be exported, as the adapter would be"):
        haloquant.export(copy, copy.with_name("plain"), source=tiny[0].with_name("plain"))
