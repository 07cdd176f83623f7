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
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from haloquant.kernels.cpu.decoder_parts import add_norm, attend, gate_with, head_norms, rotate
from haloquant.kernels.dispatch import share_threads, token_product
from haloquant.lm.packed.halo_linear import HaloLinear

DECODERS = ("LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model")  # of transformers: their blocks have the form
ATTENTIONS = ("sdpa", "eager")
DTYPES = (torch.float32, torch.bfloat16)
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


class TokenStep:
    """The decoder of a model, with what has been found out about its blocks once.

    Tensors are read from their modules at each token, so they may be written, moved or converted between two tokens.
    Modules that were replaced, and hooks, are noticed: `fits` is then False.
    """

    def __init__(self, decoder: Any) -> None:
        """Look at the blocks of a decoder of `DECODERS`."""
        self.blocks = tuple(decoder.layers)
        self._is_of_the_form = all(map(_is_of_the_form, self.blocks))
        inner = [module for module in decoder.modules() if module is not decoder]
        self._children = [
            (parent._modules, name, child) for parent in decoder.modules() for name, child in parent._modules.items()
        ]
        self._hooks = [hooks for module in inner for hooks in (module._forward_hooks, module._forward_pre_hooks)]
        self._attributes = [module.__dict__ for module in inner]
        self._packed = [module for module in inner if isinstance(module, HaloLinear)]

    def fits(self) -> bool:
        """Return whether the blocks have the form, and are what they were when this object was made."""
        if not self._is_of_the_form or not self.is_current():
            return False
        if any(_changes_results(hook) for hooks in self._hooks if hooks for hook in hooks.values()):
            return False
        if any("forward" in attributes for attributes in self._attributes):
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
        share_threads()
        embedded = decoder.embed_tokens(token)
        cosine, sine = (part.numpy().reshape(-1) for part in decoder.rotary_emb(embedded.float(), position))
        x = embedded.to(torch.float32, copy=True).numpy().reshape(-1)
        added = np.zeros_like(x)
        normed = np.empty_like(x)
        for index, block in enumerate(self.blocks):
            parts = block._modules
            attention, mlp, norm = parts["self_attn"], parts["mlp"], parts["input_layernorm"]
            add_norm(x, added, _array(norm.weight), norm.variance_epsilon, normed)
            added = _attended(attention, normed, cosine, sine, cache, index, embedded.dtype)
            norm = parts["post_attention_layernorm"]
            add_norm(x, added, _array(norm.weight), norm.variance_epsilon, normed)
            layers = mlp._modules
            gated = _product(normed, layers["up_proj"])
            gate_with(_product(normed, layers["gate_proj"]), gated)
            added = _product(gated, layers["down_proj"])
        add_norm(x, added, _array(decoder.norm.weight), decoder.norm.variance_epsilon, normed)
        return torch.from_numpy(normed).to(embedded.dtype).reshape(embedded.shape)


def _attended(
    attention: Any, x: np.ndarray, cosine: np.ndarray, sine: np.ndarray, cache: Any, index: int, dtype: torch.dtype
) -> np.ndarray:
    """Return o(attention(q x, k x, v x)), f32 [hidden], and add the key and the value to the cache."""
    layers, head = attention._modules, attention.head_dim
    query, key, value = (_product(x, layers[name]).reshape(-1, head) for name in ("q_proj", "k_proj", "v_proj"))
    if "q_norm" in layers:
        for states, name in ((query, "q_norm"), (key, "k_norm")):
            head_norms(states, _array(layers[name].weight), layers[name].variance_epsilon)
    rotate(query, cosine, sine)
    rotate(key, cosine, sine)
    new = (torch.from_numpy(states)[None, :, None].to(dtype) for states in (key, value))
    keys, values = (_array(states)[0] for states in cache.update(*new, index))
    found = np.empty_like(query)
    attend(query, keys, values, attention.scaling, found)
    return _product(found.reshape(-1), layers["o_proj"])


def _product(x: np.ndarray, layer: Any) -> np.ndarray:
    """Return W x + b, f32 [out], for x f32 [in] and a linear layer, packed or not."""
    if isinstance(layer, HaloLinear):
        y = token_product(x, layer.layer(), layer.int8_activations)
        if layer.bias is not None:
            y += layer.bias.detach().to(torch.float32).numpy()
        return y
    given = torch.from_numpy(x).to(layer.weight.dtype)
    return nn.functional.linear(given, layer.weight, layer.bias).to(torch.float32).numpy()


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
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or not layer.is_initialized or layer.keys.dtype is not dtype:
            return 0
        if layer.keys.shape[0] != 1 or layer.keys.device.type != "cpu":
            return 0
    return int(cache.layers[0].keys.shape[2])
