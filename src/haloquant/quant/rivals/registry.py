"""Presets of the rival methods by name.

A name gives the method, the bits and the group: `gptq-w4-g128` is GPTQ with 4-bit codes and one
scale for 128 input features.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from haloquant.errors import InputError
from haloquant.quant.rivals import awq, boa, fbquant, gptq, rtn, slim_llm, spqr, squeezellm, zeroquant
from haloquant.quant.rivals.awq import AwqLayerConfig
from haloquant.quant.rivals.boa import BoaConfig
from haloquant.quant.rivals.fbquant import FbQuantConfig
from haloquant.quant.rivals.gptq import GptqConfig
from haloquant.quant.rivals.parts.row_parts import quantize_by_part
from haloquant.quant.rivals.rtn import RtnConfig
from haloquant.quant.rivals.slim_llm import SlimConfig
from haloquant.quant.rivals.spqr import SpqrConfig
from haloquant.quant.rivals.squeezellm import SqueezeLlmConfig
from haloquant.quant.rivals.zeroquant import ZeroQuantConfig
from haloquant.records import LayerResult

HALO_SPARSE = 0.005  # share of weights in 8 bits, as HALO has by default


@dataclass(frozen=True)
class Rival:
    """One method with its settings. Call `quantize(weight, statistics, layer=...)`; it returns a `LayerResult`.

    Attributes:
        name: name of the preset.
        quantize: the method with its settings.
        config: the settings.
        needs: fields of `LayerStatistics` that must not be None.
        by_head: `quantize` also takes `row_hessian` [heads, size, size], for layers that have one.
        by_token: the method should get the Fisher information of single tokens. It is less noisy than that of windows
            (docs/stages/rivals.md).
    """

    name: str
    quantize: Callable[..., LayerResult]
    config: object
    needs: frozenset[str]
    by_head: bool = False
    by_token: bool = False


def _rival(name: str, method: Callable[..., LayerResult], config: object, *needs: str, **more: bool) -> Rival:
    by_part = "hessian" in needs and method is not awq.quantize  # AWQ has one scale for all rows
    bound = partial(quantize_by_part, method, config=config) if by_part else partial(method, config=config)
    return Rival(name, bound, config, frozenset(needs), **more)


_ALL = (
    _rival("rtn-w8", rtn.quantize, RtnConfig(bits=8, group=None, scheme="symmetric")),
    _rival("rtn-w4", rtn.quantize, RtnConfig(bits=4, group=None, scheme="symmetric")),
    _rival("rtn-w3", rtn.quantize, RtnConfig(bits=3, group=None, scheme="symmetric")),
    _rival("rtn-w4-g128", rtn.quantize, RtnConfig(bits=4)),
    _rival("rtn-w3-g128", rtn.quantize, RtnConfig(bits=3)),
    _rival("rtn-w4-g128-sym", rtn.quantize, RtnConfig(bits=4, scheme="symmetric")),
    _rival("gptq-w8", gptq.quantize, GptqConfig(bits=8, group=None, scheme="symmetric", ranges="searched"), "hessian"),
    _rival("gptq-w4", gptq.quantize, GptqConfig(bits=4, group=None, ranges="searched"), "hessian"),
    _rival("gptq-w3", gptq.quantize, GptqConfig(bits=3, group=None, ranges="searched"), "hessian"),
    _rival("gptq-w4-g128", gptq.quantize, GptqConfig(bits=4, ranges="searched"), "hessian"),
    _rival("gptq-w3-g128", gptq.quantize, GptqConfig(bits=3, ranges="searched"), "hessian"),
    _rival("gptq-w4-g128-sym", gptq.quantize, GptqConfig(bits=4, scheme="symmetric", ranges="searched"), "hessian"),
    _rival("gptq-w4-g128-sparse", gptq.quantize, GptqConfig(bits=4, ranges="searched", sparse=HALO_SPARSE), "hessian"),
    _rival("gptq-w3-g128-sparse", gptq.quantize, GptqConfig(bits=3, ranges="searched", sparse=HALO_SPARSE), "hessian"),
    _rival(
        "gptq-w3-g64-sparse",
        gptq.quantize,
        GptqConfig(bits=3, group=64, ranges="searched", sparse=HALO_SPARSE),
        "hessian",
    ),
    _rival("squeezellm-w4", squeezellm.quantize, SqueezeLlmConfig(bits=4), "fisher", by_token=True),
    _rival("squeezellm-w3", squeezellm.quantize, SqueezeLlmConfig(bits=3), "fisher", by_token=True),
    _rival("squeezellm-w4-sparse", squeezellm.quantize, SqueezeLlmConfig(4, 0.0045, 0.0005), "fisher", by_token=True),
    _rival("squeezellm-w3-sparse", squeezellm.quantize, SqueezeLlmConfig(3, 0.0045, 0.0005), "fisher", by_token=True),
    _rival("awq-w4-g128", awq.quantize, AwqLayerConfig(bits=4), "hessian", "input_absmean"),
    _rival("awq-w3-g128", awq.quantize, AwqLayerConfig(bits=3), "hessian", "input_absmean"),
    _rival("zeroquant-w8", zeroquant.quantize, ZeroQuantConfig(bits=8)),
    _rival("zeroquant-w4-g128", zeroquant.quantize, ZeroQuantConfig(bits=4)),
    _rival("zeroquant-local-w4-g128", zeroquant.quantize, ZeroQuantConfig(bits=4, steps=100), "hessian"),
    _rival("zeroquant-local-w3-g128", zeroquant.quantize, ZeroQuantConfig(bits=3, steps=100), "hessian"),
    _rival("zeroquant-lorc8-w4-g128", zeroquant.quantize, ZeroQuantConfig(bits=4, rank=8)),
    _rival("fbquant-w4-g128-r8", fbquant.quantize, FbQuantConfig(bits=4), "hessian"),
    _rival("fbquant-w3-g128-r8", fbquant.quantize, FbQuantConfig(bits=3), "hessian"),
    _rival("spqr-w4", spqr.quantize, SpqrConfig(bits=4), "hessian"),
    _rival("spqr-w3", spqr.quantize, SpqrConfig(bits=3), "hessian"),
    _rival("boa-w4-g128", boa.quantize, BoaConfig(bits=4, ranges="searched"), "hessian", by_head=True),
    _rival("boa-w3-g128", boa.quantize, BoaConfig(bits=3, ranges="searched"), "hessian", by_head=True),
    _rival("slim-w2-g128", slim_llm.quantize, SlimConfig(bits=2), "hessian"),
    _rival("gptq-w2-g128", gptq.quantize, GptqConfig(bits=2, ranges="searched"), "hessian"),
    _rival("slim-w3-g128", slim_llm.quantize, SlimConfig(bits=3), "hessian"),
    _rival("slim-w4-g128", slim_llm.quantize, SlimConfig(bits=4), "hessian"),
)
RIVALS: Mapping[str, Rival] = {entry.name: entry for entry in _ALL}


def rival(name: str) -> Rival:
    """Return the preset of this name.

    Raises:
        InputError: There is no such preset; the error lists all names.
    """
    if name not in RIVALS:
        raise InputError(f"rival must be one of {', '.join(sorted(RIVALS))}, not '{name}'")
    return RIVALS[name]
