"""Rival methods by name.

A name gives the method and its settings: `gptq-w4-g128` is GPTQ with 4-bit codes and one scale for 128 input features.
`RIVALS` holds the usual ones; `rival` reads any name of a form in `FORMS`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from haloquant.errors import InputError
from haloquant.quant.rivals import awq, boa, fbquant, gptq, rtn, slim_llm, smoothquant, spqr, squeezellm, zeroquant
from haloquant.quant.rivals.awq import AwqLayerConfig
from haloquant.quant.rivals.boa import BoaConfig
from haloquant.quant.rivals.fbquant import FbQuantConfig
from haloquant.quant.rivals.gptq import GptqConfig
from haloquant.quant.rivals.parts.row_parts import quantize_by_part
from haloquant.quant.rivals.rtn import RtnConfig
from haloquant.quant.rivals.slim_llm import SlimConfig
from haloquant.quant.rivals.smoothquant import SmoothQuantLayerConfig
from haloquant.quant.rivals.spqr import SpqrConfig
from haloquant.quant.rivals.squeezellm import SqueezeLlmConfig
from haloquant.quant.rivals.zeroquant import ZeroQuantConfig
from haloquant.quant.rounding.uniform_grid import Scheme
from haloquant.records import LayerResult

HALO_SPARSE = 0.005  # share of weights in 8 bits, as HALO has by default
_MOST_GROUP, _MOST_RANK = 65536, 1024

# The form of every method's names: B bits of a code, N input features per scale, R rank, P alpha in per cent. What is
# in brackets may be left out.
FORMS: Mapping[str, str] = {
    "rtn": "rtn-wB[-gN][-sym]",
    "gptq": "gptq-wB[-gN][-sym][-sparse]",
    "awq": "awq-wB[-gN]",
    "smoothquant": "smoothquant-wB[-gN][-aP]",
    "zeroquant": "zeroquant-wB[-gN]",
    "zeroquant-lorc": "zeroquant-lorcR-wB[-gN]",
    "zeroquant-local": "zeroquant-local-wB[-gN]",
    "zeroquant-global": "zeroquant-global-wB[-gN]",
    "squeezellm": "squeezellm-wB[-sparse]",
    "spqr": "spqr-wB[-gN]",
    "slim": "slim-wB[-gN]",
    "boa": "boa-wB[-gN]",
    "fbquant": "fbquant-wB[-gN][-rR]",
}
_NAME = re.compile(
    r"(?P<method>[a-z]+(?:-local|-global|-lorc(?P<lorc>\d{1,6}))?)-w(?P<bits>\d{1,6})(?:-g(?P<group>\d{1,6}))?"
    r"(?:-r(?P<rank>\d{1,6}))?(?:-a(?P<alpha>\d{1,6}))?(?P<sym>-sym)?(?P<sparse>-sparse)?"
)
_LETTERS = {"group": "-gN", "rank": "-rR", "alpha": "-aP", "sym": "-sym", "sparse": "-sparse"}

PRESETS = (
    "rtn-w8", "rtn-w4", "rtn-w3", "rtn-w4-g128", "rtn-w3-g128", "rtn-w4-g128-sym",
    "gptq-w8", "gptq-w4", "gptq-w3", "gptq-w4-g128", "gptq-w3-g128", "gptq-w2-g128", "gptq-w4-g128-sym",
    "gptq-w4-g128-sparse", "gptq-w3-g128-sparse", "gptq-w3-g64-sparse",
    "squeezellm-w4", "squeezellm-w3", "squeezellm-w4-sparse", "squeezellm-w3-sparse",
    "awq-w4-g128", "awq-w3-g128", "smoothquant-w8", "smoothquant-w4", "smoothquant-w3",
    "zeroquant-w8", "zeroquant-w4-g128", "zeroquant-local-w4-g128", "zeroquant-local-w3-g128",
    "zeroquant-global-w4-g128", "zeroquant-lorc8-w4-g128", "fbquant-w4-g128-r8", "fbquant-w3-g128-r8",
    "spqr-w4", "spqr-w3", "boa-w4-g128", "boa-w3-g128", "slim-w2-g128", "slim-w3-g128", "slim-w4-g128",
)  # fmt: skip


@dataclass(frozen=True)
class Rival:
    """One method with its settings. Call `quantize(weight, statistics, layer=...)`; it returns a `LayerResult`.

    Attributes:
        name: its name.
        quantize: the method with its settings.
        config: the settings.
        needs: fields of `LayerStatistics` that must not be None.
        by_head: `quantize` also takes `row_hessian` [heads, size, size], for layers that have one.
        by_token: the method should get the Fisher information of single tokens. It is less noisy than that of windows
            (docs/stages/rivals.md).
        in_order: the layers are rounded one after the other, and `quantize` takes `PairedInputs` in place of
            statistics.
        smoothing: strength alpha of SmoothQuant's scales; `quantize` then also takes `input_scale` [in]. None without.
        rank: rank of a side branch in float16; 0 without.
    """

    name: str
    quantize: Callable[..., LayerResult]
    config: object
    needs: frozenset[str]
    by_head: bool = False
    by_token: bool = False
    in_order: bool = False
    smoothing: float | None = None
    rank: int = 0


@dataclass(frozen=True)
class _Settings:
    """What a name gives; None for what it leaves out."""

    name: str
    bits: int
    group: int | None
    rank: int | None
    alpha: int | None
    sym: bool
    sparse: bool

    @property
    def grouped(self) -> int:
        """Input features per scale of a method that always has groups: 128 where none are given."""
        return 128 if self.group is None else self.group

    @property
    def scheme(self) -> Scheme:
        """A grid of 8 bits is symmetric, because code minus zero point must fit 8 bits."""
        return "symmetric" if self.sym or self.bits == 8 else "asymmetric"


def rival(name: str) -> Rival:
    """Return the rival of this name.

    Raises:
        InputError: The name has none of the forms of `FORMS`, or a number in it is out of range.
    """
    found = _NAME.fullmatch(name)
    method = "" if found is None else "zeroquant-lorc" if found["lorc"] else found["method"]
    if found is None or method not in FORMS:
        raise InputError(
            f"rival must be one of {', '.join(FORMS.values())}, with B bits of a code, N inputs per scale, rank R and "
            f"alpha P in per cent, for example gptq-w3-g128, not '{name}'"
        )
    for part, letters in _LETTERS.items():
        if found[part] is not None and letters not in FORMS[method]:
            raise InputError(f"a rival of {method} must be {FORMS[method]}, not '{name}'")
    least, most = _BITS.get(method, (2, 8))
    if method in _ASYMMETRIC or (method == "rtn" and found["group"] and not found["sym"]):
        most = min(most, 7)
    rank = found["lorc"] or found["rank"]
    settings = _Settings(
        name,
        _number(name, "bits", found["bits"], least, most),
        None if found["group"] is None else _number(name, "group", found["group"], 2, _MOST_GROUP),
        None if rank is None else _number(name, "rank", rank, 1, _MOST_RANK),
        None if found["alpha"] is None else _number(name, "alpha", found["alpha"], 0, 100),
        found["sym"] is not None,
        found["sparse"] is not None,
    )
    return _MAKERS[method](settings)


def _number(name: str, what: str, digits: str, least: int, most: int) -> int:
    value = int(digits)
    if not least <= value <= most or digits != str(value):
        raise InputError(f"{what} of the rival '{name}' must be {least} to {most}, not {digits}")
    return value


def _bound(
    s: _Settings, method: Callable[..., LayerResult], config: object, *needs: str, by_head: bool = False
) -> Rival:
    """Return a method that works row by row, and quantizes value rows by their own Hessian."""
    return Rival(s.name, partial(quantize_by_part, method, config=config), config, frozenset(needs), by_head=by_head)


def _plain(s: _Settings, method: Callable[..., LayerResult], config: object, *needs: str, rank: int = 0) -> Rival:
    return Rival(s.name, partial(method, config=config), config, frozenset(needs), rank=rank)


def _rtn(s: _Settings) -> Rival:
    scheme: Scheme = "symmetric" if s.group is None else s.scheme
    return _plain(s, rtn.quantize, RtnConfig(s.bits, s.group, scheme))


def _gptq(s: _Settings) -> Rival:
    config = GptqConfig(s.bits, s.group, s.scheme, ranges="searched", sparse=HALO_SPARSE if s.sparse else 0.0)
    return _bound(s, gptq.quantize, config, "hessian")


def _awq(s: _Settings) -> Rival:  # one scale for all rows, so not part by part
    return _plain(s, awq.quantize, AwqLayerConfig(s.bits, s.group), "hessian", "input_absmean")


def _smoothquant(s: _Settings) -> Rival:
    alpha = 0.5 if s.alpha is None else s.alpha / 100
    config = SmoothQuantLayerConfig(s.bits, s.group, alpha)
    method = partial(smoothquant.quantize, config=config)
    return Rival(s.name, method, config, frozenset({"input_absmax"}), smoothing=alpha)


def _zeroquant(s: _Settings) -> Rival:
    return _plain(s, zeroquant.quantize, ZeroQuantConfig(s.bits, s.grouped))


def _lorc(s: _Settings) -> Rival:
    rank = s.rank or 0
    return _plain(s, zeroquant.quantize, ZeroQuantConfig(s.bits, s.grouped, rank=rank), rank=rank)


def _local(s: _Settings) -> Rival:
    return _bound(s, zeroquant.quantize, ZeroQuantConfig(s.bits, s.grouped, steps=100), "hessian")


def _global(s: _Settings) -> Rival:
    config = ZeroQuantConfig(s.bits, s.grouped, steps=100)
    method = partial(zeroquant.quantize_to_outputs, config=config)
    return Rival(s.name, method, config, frozenset(), in_order=True)


def _squeezellm(s: _Settings) -> Rival:
    config = SqueezeLlmConfig(s.bits, 0.0045, 0.0005) if s.sparse else SqueezeLlmConfig(s.bits)
    return Rival(s.name, partial(squeezellm.quantize, config=config), config, frozenset({"fisher"}), by_token=True)


def _spqr(s: _Settings) -> Rival:
    return _bound(s, spqr.quantize, SpqrConfig(s.bits, 16 if s.group is None else s.group), "hessian")


def _slim(s: _Settings) -> Rival:
    return _bound(s, slim_llm.quantize, SlimConfig(s.bits, s.grouped), "hessian")


def _boa(s: _Settings) -> Rival:
    return _bound(s, boa.quantize, BoaConfig(s.bits, s.group, ranges="searched"), "hessian", by_head=True)


def _fbquant(s: _Settings) -> Rival:
    rank = 8 if s.rank is None else s.rank
    return replace(_bound(s, fbquant.quantize, FbQuantConfig(s.bits, s.group, rank=rank), "hessian"), rank=rank)


_MAKERS: Mapping[str, Callable[[_Settings], Rival]] = {
    "rtn": _rtn, "gptq": _gptq, "awq": _awq, "smoothquant": _smoothquant, "zeroquant": _zeroquant,
    "zeroquant-lorc": _lorc, "zeroquant-local": _local, "zeroquant-global": _global, "squeezellm": _squeezellm,
    "spqr": _spqr, "slim": _slim, "boa": _boa, "fbquant": _fbquant,
}  # fmt: skip
_BITS = {"slim": (2, 6)}
_ASYMMETRIC = {"awq", "spqr", "boa", "fbquant"}
RIVALS: Mapping[str, Rival] = {name: rival(name) for name in PRESETS}
