"""One generated token of a packed model on a CPU, from compiled parts instead of the operations of torch.

A model of transformers makes some fifty calls of torch for each block, and for small models they take longer than the
products. Where the blocks of a model have the form below, and the call is that of one new token, `forward` of the
decoder computes the same with the products of `HaloLinear` and `kernels.cpu.decoder_parts` between them. In all other
cases the method of transformers runs.

The form: h = x + o(attention(q(norm x), k(norm x), v(norm x))), y = h + down(silu(gate(norm h)) * up(norm h)), with
norms by the root of the mean square, rotated queries and keys, and perhaps norms of the heads.

Between the layers numbers are float32. So a model in bfloat16 is rounded less often than in transformers: its cached
keys and values and its last hidden state are bfloat16, and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count
from operator import attrgetter
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from haloquant.kernels.cpu.decoder_parts import add_norm, append, attend, gate_with, head_norms, rotate
from haloquant.kernels.dispatch import share_threads, token_product
from haloquant.kernels.layer_tensors import PackedLayer
from haloquant.lm.packed.halo_linear import HaloLinear

DECODERS = ("LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model")  # of transformers: their blocks have the form
ATTENTIONS = ("sdpa", "eager")
DTYPES = (torch.float32, torch.bfloat16)
_ROOM = 64  # tokens, besides as many as there are
_VALUES, _VERSION, _PLACE, torch.is_inference = (
    dict.values,
    attrgetter("_version"),
    torch.Tensor.data_ptr,
    torch.is_inference,
)
_NUMBERS = count()
_FORWARDS: dict[type, Callable[..., Any]] = {}
_STEPS: WeakKeyDictionary[nn.Module, "TokenStep"] = WeakKeyDictionary()


def attach(model: nn.Module) -> None:
    """Let the decoders of a model compute single tokens with `TokenStep` where their blocks have the form."""
    for module in model.modules():
        kind = type(module)
        if kind.__name__ in DECODERS and kind.__module__.startswith("transformers.models."):
            _FORWARDS.setdefault(kind, _forward_of(kind))
            # A bound method is copied together with its module.
            module.forward = MethodType(_FORWARDS[kind], module)


@dataclass(frozen=True)
class _Linear:
    """A linear layer: packed, with its bias and whether its inputs are rounded, or one of torch."""

    packed: PackedLayer | None
    bias: np.ndarray | None
    rounded: bool
    plain: nn.Linear | None

    def product(self, x: np.ndarray) -> np.ndarray:
        """Return W x + b, f32 [out], for x f32 [in]."""
        if self.packed is not None:
            y = token_product(x, self.packed, self.rounded)
            if self.bias is not None:
                y += self.bias
            return y
        assert self.plain is not None  # noqa: S101 - one of the two is there
        weight = self.plain.weight
        return nn.functional.linear(torch.from_numpy(x).to(weight.dtype), weight, self.plain.bias).float().numpy()


@dataclass(frozen=True)
class _Norm:
    """A norm by the root of the mean square: weights in float32 or bits of bfloat16, and what is added to the mean."""

    weight: np.ndarray
    epsilon: float


@dataclass(frozen=True)
class _Block:
    """One block of the decoder."""

    norms: tuple[_Norm, _Norm]
    query: _Linear
    key: _Linear
    value: _Linear
    out: _Linear
    head_norms: tuple[_Norm, _Norm] | None
    head: int
    scaling: float
    gate: _Linear
    up: _Linear
    down: _Linear


class TokenStep:
    """The decoder of a model, with what was found out about it once.

    Each token asks whether the modules, their tensors and their hooks are still those that were seen.
    """

    def __init__(self, decoder: Any) -> None:
        """Look at a decoder of `DECODERS`."""
        modules = list(decoder.modules())
        inner = modules[1:]
        self._children = [
            (parent._modules, name, child) for parent in modules for name, child in parent._modules.items()
        ]
        self._hooks = [hooks for module in inner for hooks in (module._forward_hooks, module._forward_pre_hooks)]
        self._attributes = [module.__dict__ for module in inner]
        self._stores = [store for module in inner for store in (module._parameters, module._buffers)]
        self._packed = [module for module in inner if isinstance(module, HaloLinear)]
        self._is_of_the_form = all(map(_is_of_the_form, decoder.layers))
        self._blocks: tuple[_Block, ...] = ()
        self._last_norm: _Norm | None = None
        self._seen: tuple[Any, ...] = ()
        self._buffers: WeakKeyDictionary[Any, _GrowingCache] = WeakKeyDictionary()

    def fits(self) -> bool:
        """Return whether the blocks have the form, and nothing else happens in them."""
        if not self._is_of_the_form or any("forward" in attributes for attributes in self._attributes):
            return False
        if any(_changes_results(hook) for hooks in self._hooks if hooks for hook in hooks.values()):
            return False
        return not any(layer.token_classes is not None or layer.leaves_inputs_out for layer in self._packed)

    def is_current(self) -> bool:
        """Return whether the decoder still consists of the same modules."""
        return all(children.get(name) is child for children, name, child in self._children)

    def hidden_state(self, decoder: Any, token: torch.Tensor, position: torch.Tensor, cache: Any) -> torch.Tensor:
        """Return the last hidden state of one token, [1, 1, hidden], and add its keys and values to the cache.

        Args:
            decoder: The decoder that this object was made for.
            token: i64 [1, 1].
            position: i64 [1, 1].
            cache: The `DynamicCache` of the tokens before.
        """
        self._read_tensors(decoder)
        share_threads()
        embedded = decoder.embed_tokens(token)
        cosine, sine = (part.numpy().reshape(-1) for part in decoder.rotary_emb(embedded.float(), position))
        x = embedded.to(torch.float32, copy=True).numpy().reshape(-1)
        added = np.zeros_like(x)
        normed = np.empty_like(x)
        for block, stored in zip(self._blocks, cache.layers, strict=True):
            norm, second_norm = block.norms
            add_norm(x, added, norm.weight, norm.epsilon, normed)
            query, key, value = (
                layer.product(normed).reshape(-1, block.head) for layer in (block.query, block.key, block.value)
            )
            if block.head_norms is not None:
                for states, norm in zip((query, key), block.head_norms, strict=True):
                    head_norms(states, norm.weight, norm.epsilon)
            rotate(query, cosine, sine)
            rotate(key, cosine, sine)
            found = np.empty_like(query)
            attend(query, *self._cached(stored, key, value), block.scaling, found)
            added = block.out.product(found.reshape(-1))
            add_norm(x, added, second_norm.weight, second_norm.epsilon, normed)
            gated = block.up.product(normed)
            gate_with(block.gate.product(normed), gated)
            added = block.down.product(gated)
        assert self._last_norm is not None  # noqa: S101 - set by _read_tensors
        add_norm(x, added, self._last_norm.weight, self._last_norm.epsilon, normed)
        return torch.from_numpy(normed).to(embedded.dtype).reshape(embedded.shape)

    def _cached(self, stored: Any, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Add a key and a value to a block's cache, and return all keys and values, and their number."""
        growing = self._buffers.get(stored)
        if growing is None or not growing.is_of(stored):
            growing = self._buffers[stored] = _GrowingCache(stored)
        return growing.append(stored, key, value)

    def _read_tensors(self, decoder: Any) -> None:
        """Take the tensors of all modules as arrays again, if one was replaced, moved, converted or written since."""
        roundings = [layer.int8_activations for layer in self._packed]
        if self._seen != (roundings, *self._state()):
            for layer in self._packed:
                layer.layer()  # checks tensors that were changed, and replaces those that do not count their changes
            self._seen = (roundings, *self._state())
            self._blocks = tuple(map(_read_block, decoder.layers))
            self._last_norm = _read_norm(decoder.norm)

    def _state(self) -> tuple[list[int], list[int], list[int]]:
        """Return which tensors the modules have, where their memory is, and how often it was written."""
        tensors = [t for t in chain.from_iterable(map(_VALUES, self._stores)) if t is not None]
        try:
            versions = list(map(_VERSION, tensors))
        except RuntimeError:  # tensors made in inference mode do not count how often they are written
            versions = [next(_NUMBERS)]
        return list(map(id, tensors)), list(map(_PLACE, tensors)), versions


class _GrowingCache:
    """Keys and values of one block in memory with room for more tokens, so that none is copied for each new token.

    The layer of the cache of transformers gets views of the tokens that there are.
    """

    def __init__(self, stored: Any) -> None:
        """Copy the keys and values of a layer of a cache."""
        tokens = stored.keys.shape[2]
        self.keys, self.values = (self._with_room(old) for old in (stored.keys, stored.values))
        self.arrays = _array(self.keys)[0], _array(self.values)[0]
        self._set(stored, tokens)

    def is_of(self, stored: Any) -> bool:
        """Return whether the layer has what this object gave it, and there is room for another token."""
        return stored.keys is self.views[0] and stored.values is self.views[1] and self.tokens < self.arrays[0].shape[1]

    def append(self, stored: Any, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Add a key and a value, f32 [groups, head], and return all [groups, room, head], and their number."""
        keys, values = self.arrays
        append(keys, values, self.tokens, key, value)
        self._set(stored, self.tokens + 1)
        return keys, values, self.tokens

    def _set(self, stored: Any, tokens: int) -> None:
        self.tokens = tokens
        self.views = self.keys[:, :, :tokens], self.values[:, :, :tokens]
        stored.keys, stored.values = self.views

    @staticmethod
    def _with_room(old: torch.Tensor) -> torch.Tensor:
        """Return a copy of keys or values [1, groups, tokens, head] with room for more tokens behind them."""
        _, groups, tokens, head = old.shape
        place = torch.empty(1, groups, 2 * tokens + _ROOM, head, dtype=old.dtype)
        place[:, :, :tokens] = old
        return place


def _read_block(block: Any) -> _Block:
    attention, mlp = block.self_attn, block.mlp
    has_norms = "q_norm" in attention._modules
    return _Block(
        norms=(_read_norm(block.input_layernorm), _read_norm(block.post_attention_layernorm)),
        query=_read_linear(attention.q_proj),
        key=_read_linear(attention.k_proj),
        value=_read_linear(attention.v_proj),
        out=_read_linear(attention.o_proj),
        head_norms=(_read_norm(attention.q_norm), _read_norm(attention.k_norm)) if has_norms else None,
        head=attention.head_dim,
        scaling=attention.scaling,
        gate=_read_linear(mlp.gate_proj),
        up=_read_linear(mlp.up_proj),
        down=_read_linear(mlp.down_proj),
    )


def _read_norm(module: Any) -> _Norm:
    return _Norm(_array(module.weight), float(module.variance_epsilon))


def _read_linear(layer: Any) -> _Linear:
    if not isinstance(layer, HaloLinear):
        return _Linear(None, None, False, layer)
    bias = None if layer.bias is None else layer.bias.detach().to(torch.float32).numpy()
    return _Linear(layer.layer(), bias, layer.int8_activations, None)


def _array(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor as an array without a copy: float32, or the bits of bfloat16."""
    bits = tensor.detach()
    return (bits.view(torch.uint16) if bits.dtype is torch.bfloat16 else bits).numpy()


def _is_of_the_form(block: Any) -> bool:
    """Return whether a block of one of the decoders has linear layers and an activation that are computed here."""
    attention, mlp = block.self_attn, block.mlp
    layers = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    layers += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    gate_is_silu = isinstance(mlp.act_fn, nn.SiLU) or type(mlp.act_fn).__name__ == "SiLUActivation"
    return gate_is_silu and all(type(layer) in (nn.Linear, HaloLinear) for layer in layers)


def _forward_of(kind: type) -> Callable[..., Any]:
    """Return the method `forward` of a decoder of transformers, with single tokens computed here."""

    def forward(self: Any, *args: Any, **given: Any) -> Any:
        if not args and _is_single_token(self, **given):
            step = _STEPS.get(self)
            if step is None or not step.is_current():
                step = _STEPS[self] = TokenStep(self)
            if step.fits():
                from transformers.modeling_outputs import BaseModelOutputWithPast

                cache, position = given["past_key_values"], given.get("position_ids")
                if position is None:
                    position = torch.tensor([[cache.get_seq_length()]])
                state = step.hidden_state(self, given["input_ids"], position, cache)
                return BaseModelOutputWithPast(last_hidden_state=state, past_key_values=cache)
        return kind.forward(self, *args, **given)  # type: ignore[attr-defined]

    return forward


def _is_single_token(
    decoder: Any,
    input_ids: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    past_key_values: Any = None,
    use_cache: bool | None = None,
    inputs_embeds: torch.Tensor | None = None,
    **others: Any,
) -> bool:
    """Return whether a call asks for one new token on the CPU, behind others in a growing cache, and nothing else."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or decoder.training:
        return False
    if input_ids is None or inputs_embeds is not None or past_key_values is None or use_cache is False:
        return False
    if input_ids.shape != (1, 1) or input_ids.device.type != "cpu" or any(map(_asks_for_more, others.items())):
        return False
    config, weight = decoder.config, decoder.norm.weight
    if getattr(config, "output_attentions", False) or getattr(config, "output_hidden_states", False):
        return False
    if config._attn_implementation not in ATTENTIONS:
        return False
    if weight.device.type != "cpu" or weight.dtype not in DTYPES or decoder.embed_tokens.weight.dtype != weight.dtype:
        return False
    tokens = _cached_tokens(past_key_values, len(decoder.layers), weight.dtype)
    window = getattr(config, "sliding_window", None)
    if not tokens or (window is not None and tokens >= window):
        return False
    if position_ids is not None and position_ids.shape != (1, 1):
        return False
    whole = attention_mask is None or (attention_mask.ndim == 2 and bool(attention_mask.all()))
    return whole and (attention_mask is None or attention_mask.shape == (1, tokens + 1))


def _changes_results(hook: Any) -> bool:
    """Return False for the hooks that transformers leaves in a model that was once asked for all hidden states."""
    return getattr(hook, "__module__", None) != "transformers.utils.output_capturing"


def _asks_for_more(argument: tuple[str, Any]) -> bool:
    """Return whether an argument of a call changes its result."""
    name, value = argument
    if name == "return_dict":
        return value is False
    return name != "cache_position" and bool(value)


def _cached_tokens(cache: Any, blocks: int, dtype: torch.dtype) -> int:
    """Return the tokens of a plain growing cache of one text; 0 for any other cache."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    if type(cache) is not DynamicCache or len(cache.layers) != blocks:
        return 0
    tokens = 0
    for layer in cache.layers:
        keys: Any = layer.keys if type(layer) is DynamicLayer else None
        if keys is None or keys.dtype is not dtype or keys.shape[0] != 1 or keys.device.type != "cpu":
            return 0
        tokens = int(keys.shape[2])
    return tokens
