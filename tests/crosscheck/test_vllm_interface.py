"""The plugin in vLLM's own classes, where vLLM is installed: its plugin loader, linear layers, weight loader, hooks.

vLLM needs no accelerator to be imported, and its layers run on the CPU when they are not split, so everything up to an
engine that serves is real here. It is run in a process of its own, since vLLM changes warnings and logging on import.
Last run against vLLM 0.33.0 with torch for the CPU.
"""

import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.packed import export_packed
from support.halo_layers import codebooks
from support.tiny_model import quantized, save_llama

pytestmark = [
    pytest.mark.crosscheck,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM, which is absent here: pip install vllm"),
]

SCRIPT = """
import inspect, json, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from safetensors.torch import load_file
from torch import nn
from vllm.plugins import load_general_plugins
load_general_plugins()
from vllm.model_executor.layers.linear import (
    LinearMethodBase, MergedColumnParallelLinear, QKVParallelLinear, RowParallelLinear,
    UnquantizedLinearMethod)
from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS, get_quantization_config
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig
from vllm.model_executor.model_loader.utils import process_weights_after_loading
from vllm.model_executor.models.llama import LlamaForCausalLM
from vllm.model_executor.models.utils import AutoWeightsLoader, WeightsMapper
from haloquant.errors import FormatError, InfeasibleError
from haloquant.lm.packed.reader import open_packed, read_layer
from haloquant.quant.layer import dequantize

folder, damaged = map(Path, sys.argv[1:])

# 1. vLLM's own plugin loader found the entry point, and the class is whole.
assert "halo" in QUANTIZATION_METHODS
Config = get_quantization_config("halo")
assert issubclass(Config, QuantizationConfig) and not Config.__abstractmethods__
Method = sys.modules["haloquant.lm.integrations.vllm"].HaloVllmMethod
assert issubclass(Method, LinearMethodBase) and not Method.__abstractmethods__

# 2. Whatever a base class may be called with, ours may be called with.
for ours, base in ((Config, QuantizationConfig), (Method, LinearMethodBase)):
    for name, wanted in inspect.getmembers(base, callable):
        if name.startswith("_") or getattr(ours, name) is wanted or name not in vars(ours):
            continue
        mine = inspect.signature(getattr(ours, name)).parameters
        theirs = inspect.signature(wanted).parameters
        anything = any(p.kind is p.VAR_KEYWORD for p in mine.values())
        for position, (key, parameter) in enumerate(theirs.items()):
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            assert key in mine or anything, (ours, name, key)
            assert key not in mine or list(mine).index(key) == position, (ours, name, key)
print("signatures")

# 3. The hooks around loading.
raw = json.loads((folder / "config.json").read_text())["quantization_config"]
config = Config.from_config(raw)
config.maybe_update_config(str(folder), hf_config=None, revision=None)
for name, kind in ((str(damaged), FormatError), ("someone/some-model", InfeasibleError)):
    try:
        config.maybe_update_config(name, hf_config=None, revision=None)
    except kind as error:
        print(error)
    else:
        raise AssertionError(name)
other = Config.from_config(raw)
other.apply_vllm_mapper(WeightsMapper(orig_to_new_prefix={"model.": "language_model.model."}).get_rename_mapper())
assert all(name.startswith("language_model.model.layers.") for name in other.packed.layers)
config.apply_vllm_mapper(LlamaForCausalLM.hf_to_vllm_mapper.get_rename_mapper())
assert config.packed.layers == tuple(raw["layers"])
config.packed_modules_mapping.update(LlamaForCausalLM.packed_modules_mapping)
assert torch.bfloat16 in config.get_supported_act_dtypes() and config.get_config_filenames() == []

# 4. vLLM's own linear layers, fused as in its Llama, loaded by its own loader from the packed file.
def layers(prefix, dtype):
    at = dict(bias=True, quant_config=config, params_dtype=dtype, disable_tp=True)
    attention, mlp = nn.Module(), nn.Module()
    attention.qkv_proj = QKVParallelLinear(64, 16, 4, 2, prefix=f"{prefix}.self_attn.qkv_proj", **at)
    attention.o_proj = RowParallelLinear(64, 64, prefix=f"{prefix}.self_attn.o_proj", **at)
    at["bias"] = False
    mlp.gate_up_proj = MergedColumnParallelLinear(64, [172, 172], prefix=f"{prefix}.mlp.gate_up_proj", **at)
    mlp.down_proj = RowParallelLinear(172, 64, prefix=f"{prefix}.mlp.down_proj", **at)
    block = nn.Module()
    block.self_attn, block.mlp = attention, mlp
    return block

stored = load_file(folder / "model.safetensors")
linear = {k: v for k, v in stored.items() if ".self_attn." in k or ".mlp." in k}
for dtype, bound in ((torch.float32, 2e-6), (torch.bfloat16, 2e-2)):
    model, inner = nn.Module(), nn.Module()
    inner.layers = nn.ModuleList([layers(f"model.layers.{i}", dtype) for i in range(2)])
    model.model, model.quant_config = inner, config
    loaded = AutoWeightsLoader(model).load_weights(iter(linear.items()), mapper=LlamaForCausalLM.hf_to_vllm_mapper)
    assert any(name.endswith("qkv_proj.weight_packed") for name in loaded)
    about = SimpleNamespace(quantization="halo", dtype=dtype, word_embeddings_untied_by_checkpoint=False)
    process_weights_after_loading(model, about, torch.device("cpu"))
    packed = open_packed(folder)

    def weight(name):
        return torch.from_numpy(dequantize(read_layer(packed, name))).double()

    for i, block in enumerate(inner.layers):
        at = f"model.layers.{i}."
        for module, parts in (
            (block.self_attn.qkv_proj, ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
            (block.self_attn.o_proj, ["self_attn.o_proj"]),
            (block.mlp.gate_up_proj, ["mlp.gate_proj", "mlp.up_proj"]),
            (block.mlp.down_proj, ["mlp.down_proj"]),
        ):
            assert isinstance(module.quant_method, Method)
            whole = torch.cat([weight(at + part) for part in parts])
            bias = torch.cat([stored[f"{at}{p}.bias"] for p in parts]).double() if module.has_bias else 0
            for tokens in (1, 5, 40):
                x = torch.randn(tokens, whole.shape[1]).to(dtype)
                with torch.inference_mode():
                    y = module(x)[0]
                assert y.dtype == dtype
                wanted = x.double() @ whole.T + bias
                assert ((y.double() - wanted).abs().max() <= bound * wanted.abs().max()), (at, parts, tokens)
            if tokens == 40 and dtype == torch.bfloat16 and i == 0:  # as vLLM compiles a model: no break in its graph
                with torch.no_grad():
                    compiled = torch.compile(module, fullgraph=True, backend="eager")(x)[0]
                    assert torch.equal(compiled, module(x)[0])
print("layers")

# 5. What is not packed stays vLLM's own; what cannot be run is refused.
assert type(config.get_quant_method(model.model.layers[0].mlp.down_proj, "classifier")) is UnquantizedLinearMethod
assert config.get_quant_method(nn.Embedding(3, 3), "model.embed_tokens") is None
try:
    config.get_quant_method(nn.Embedding(3, 3), "model.layers.0.mlp.down_proj")
except InfeasibleError as error:
    print(error)
"""


def test_the_plugin_in_vllms_own_classes(tmp_path) -> None:
    checkpoint = open_checkpoint(save_llama(tmp_path / "plain"))
    layers = quantized(checkpoint, codebooks())
    for name in ("packed", "damaged"):
        export_packed(checkpoint, layers, tmp_path / name, profile_name="booth8", profile_sha256="ab" * 32)
    shard = tmp_path / "damaged/model.safetensors"
    data = bytearray(shard.read_bytes())
    data[-300] ^= 4
    shard.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path / "packed"), str(tmp_path / "damaged")],
        capture_output=True,
        text=True,
        timeout=280,
        env={"PATH": "/usr/bin:/bin", "VLLM_LOGGING_LEVEL": "ERROR", "OMP_NUM_THREADS": "1", "VLLM_NO_USAGE_STATS": "1"}
        | {"HOME": str(tmp_path), "PYTHONPATH": ":".join(path for path in sys.path if path)},
    )
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines[:1] == ["signatures"] and "layers" in lines, done.stderr[-3000:]
    assert any("their SHA-256 is not" in line for line in lines)
    assert any(line.startswith("a packed HALO model must be served from a local folder, not 's") for line in lines)
    assert lines[-1].startswith(
        "model.layers.0.mlp.down_proj must be a linear layer in vLLM to run packed, not part of"
    )
