"""The vLLM plugin against a stand-in of vLLM's interface; `crosscheck/test_vllm_interface.py` has vLLM's own.

The stand-in has the names and signatures of `vllm.model_executor.layers`: it fuses q, k and v, makes parameters before
loading, loads through `param.weight_loader(param, tensor, shard)` and then calls `process_weights_after_loading`.
"""

import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch
from torch import nn

from haloquant.errors import FormatError, InfeasibleError, MissingExtraError
from haloquant.lm.integrations.vllm_plugin import register
from haloquant.lm.packed.config import make_config
from haloquant.quant.format.packing import pack
from haloquant.quant.layer import dequantize
from support.halo_layers import codebooks, random_layer

NAMES = [f"model.layers.0.self_attn.{part}_proj" for part in "qkv"]


@pytest.fixture
def vllm(monkeypatch):
    class QuantizationConfig:
        def __init__(self):
            self.packed_modules_mapping = {}

    class LinearMethodBase:
        pass

    class UnquantizedLinearMethod(LinearMethodBase):
        pass

    class LinearBase(nn.Module):
        pass

    registry = {}

    def register_quantization_config(name):
        def keep(cls):
            assert issubclass(cls, QuantizationConfig)
            assert name not in registry
            registry[name] = cls
            return cls

        return keep

    def module(name, **contents):
        made = ModuleType(name)
        made.__path__ = []
        made.__spec__ = type("Spec", (), {"name": name, "loader": None, "submodule_search_locations": []})()
        vars(made).update(contents)
        monkeypatch.setitem(sys.modules, name, made)

    module("vllm")
    module("vllm.model_executor")
    module("vllm.model_executor.layers")
    linear = {"LinearBase": LinearBase, "LinearMethodBase": LinearMethodBase}
    module("vllm.model_executor.layers.linear", UnquantizedLinearMethod=UnquantizedLinearMethod, **linear)
    base = "vllm.model_executor.layers.quantization"
    module(base, register_quantization_config=register_quantization_config)
    module(f"{base}.base_config", QuantizationConfig=QuantizationConfig)
    monkeypatch.delitem(sys.modules, "haloquant.lm.integrations.vllm", raising=False)
    register()
    register()
    yield registry, LinearBase, UnquantizedLinearMethod
    sys.modules.pop("haloquant.lm.integrations.vllm", None)


def parts():
    return [
        random_layer(rows, 64, 32, seed=index, layer=name)
        for index, (name, rows) in enumerate(zip(NAMES, (64, 32, 32), strict=True))
    ]


def config_of(layers):
    return make_config(codebooks(), 32, 32, tuple(q.layer for q in layers), ("x", "0" * 64), 4.0).as_dict()


def load(layer, q, shard) -> None:
    for name, array in pack(q).items():
        parameter = layer.get_parameter(name)
        loaded = torch.from_numpy(array)
        parameter.weight_loader(parameter, loaded) if shard is None else parameter.weight_loader(
            parameter, loaded, shard
        )


def test_entry_point_is_declared() -> None:
    found = [point for point in entry_points(group="vllm.general_plugins") if point.name == "haloquant"]
    assert found[0].load() is register


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_it_says_what_is_missing() -> None:
    with pytest.raises(MissingExtraError, match="needs vLLM itself: pip install vllm"):
        register()


def test_a_fused_layer_computes_what_its_parts_compute(vllm) -> None:
    registry, base, _ = vllm
    layers = parts()
    config = registry["halo"].from_config(config_of(layers))
    config.packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
    layer = base()
    method = config.get_quant_method(layer, "model.layers.0.self_attn.qkv_proj")
    method.create_weights(layer, 64, [64, 32, 32], 64, 128, torch.float32, weight_loader=None)
    for q, shard in zip(layers, "qkv", strict=True):
        load(layer, q, shard)
    method.process_weights_after_loading(layer)
    x, bias = torch.randn(5, 64), torch.randn(128)
    wanted = torch.cat([x @ torch.from_numpy(dequantize(q)).T for q in layers], dim=1) + bias
    assert torch.allclose(method.apply(layer, x, bias), wanted, atol=1e-6)


def test_a_layer_of_its_own(vllm) -> None:
    registry, base, _ = vllm
    q = random_layer(96, 64, 32, layer="model.layers.0.mlp.down_proj")
    method = registry["halo"].from_config(config_of([q])).get_quant_method(layer := base(), q.layer)
    method.create_weights(layer, 64, [96], 64, 96, torch.float32)
    load(layer, q, None)
    method.process_weights_after_loading(layer)
    x = torch.randn(1, 64)
    assert torch.allclose(method.apply(layer, x), x @ torch.from_numpy(dequantize(q)).T, atol=1e-6)


def test_other_layers_stay_as_they_are(vllm) -> None:
    registry, base, plain = vllm
    config = registry["halo"].from_config(config_of(parts()))
    assert isinstance(config.get_quant_method(base(), "lm_head"), plain)
    assert config.get_quant_method(nn.Embedding(3, 3), "model.embed_tokens") is None


def test_what_cannot_run_is_refused(vllm) -> None:
    registry, base, _ = vllm
    layers = parts()
    config = registry["halo"].from_config(config_of(layers[:2]))
    config.packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
    with pytest.raises(FormatError, match="must be packed as a whole or not at all"):
        config.get_quant_method(base(), "model.layers.0.self_attn.qkv_proj")
    method = config.get_quant_method(layer := base(), NAMES[0])
    with pytest.raises(InfeasibleError, match="must run on one device in vLLM"):
        method.create_weights(layer, 32, [64], 64, 64, torch.float32)
    method.create_weights(layer, 64, [64], 64, 64, torch.float32)
    with pytest.raises(FormatError, match="q_proj must have a tensor weight_packed, and it is missing"):
        method.process_weights_after_loading(layer)
    with pytest.raises(FormatError, match="must be of format version 1 to 5, not 6"):
        registry["halo"].from_config(config_of(layers) | {"version": 6})
