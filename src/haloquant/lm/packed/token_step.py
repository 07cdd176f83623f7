"""One generated token of a packed model on a CPU, from compiled parts instead of the operations of torch.

A model of transformers makes some fifty calls of torch for each block, and for small models they take longer than the
products. Where the blocks of a model have the form below, and the call is that of one new token, `forward` of the
decoder computes the same with `kernels.cpu.token_products`, and `kernels.cpu.decoder_parts` between them. In all other
cases the method of transformers runs.

The form: h = x + o(attention(q(norm x), k(norm x), v(norm x))), y = h + down(silu(gate(norm h)) * up(norm h)), with
norms by the root of the mean square, rotated queries and keys, and perhaps norms of the heads.

Between the layers numbers are float32. So a model in bfloat16 is rounded less often than in transformers: its cached
keys and values and its last hidden state are bfloat16, and nothing else.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as kept
from functools import wraps
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as hooks_of_all_modules

from haloquant.errors import InfeasibleError
from haloquant.kernels.cpu.decoder_parts import add_norm, attend, gate_with, head_norms, rotate
from haloquant.kernels.cpu.stored_arrays import StoredArrays, dense_record, packed_record
from haloquant.kernels.cpu.token_products import products_of
from haloquant.kernels.dispatch import check_integers, share_threads
from haloquant.kernels.layer_tensors import PackedLayer
from haloquant.lm.packed.growing_cache import GrowingCaches, bits_or_floats, cached_tokens
from haloquant.lm.packed.halo_linear import HaloLinear

DECODERS = ("LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model")  # of transformers: their blocks have the form
ATTENTIONS = ("sdpa", "eager")
DTYPES = (torch.float32, torch.bfloat16)
STEP = "_token_step"  # attribute of a decoder


def attach(model: nn.Module) -> None:
    """Let the decoders of a model compute single tokens with `TokenStep` where their blocks have the form."""
    for module in model.modules():
        kind = type(module)
        if kind.__name__ in DECODERS and kind is getattr(sys.modules.get(kind.__module__), kind.__name__, None):
            module.__class__ = _with_steps(kind)


@kept
def _with_steps(kind: type) -> type:
    """Return a class of decoders like `kind`, of the same name, whose `forward` takes a step where it can."""
    forward_of_kind: Callable[..., Any] = kind.forward  # type: ignore[attr-defined]
    classes = _classes_of(kind)
    forwards = classes.forwards()

    @wraps(forward_of_kind)
    def forward(self: Any, *args: Any, **given: Any) -> Any:
        found = None if args or classes.forwards() != forwards else _step(self, classes, given)
        return forward_of_kind(self, *args, **given) if found is None else found

    def reduce(self: Any, protocol: Any) -> Any:
        """Return how to make a copy: the class has no name by which another process could import it."""
        made: Any = nn.Module.__reduce_ex__(self, protocol)
        return _new, (kind,), {name: value for name, value in made[2].items() if name != STEP}, *made[3:]

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {**names, "forward": forward, "__reduce_ex__": reduce})


def _new(kind: type) -> Any:
    """Return an empty decoder of the class that `_with_steps` makes of `kind`."""
    return object.__new__(_with_steps(kind))


@dataclass(frozen=True)
class _Classes:
    """The classes of a family's blocks, attentions, perceptrons and norms."""

    block: type
    attention: type
    mlp: type
    norm: type

    def forwards(self) -> tuple[Any, ...]:
        """Return the methods `forward` that they have now."""
        kinds: tuple[Any, ...] = (self.block, self.attention, self.mlp, self.norm)
        return tuple(kind.forward for kind in kinds)


@dataclass(frozen=True)
class _Norm:
    """A norm by the root of the mean square, with its weights in float32 or bits of bfloat16."""

    weight: np.ndarray
    module: Any


@dataclass(frozen=True)
class JointLayers:
    """Layers with the same inputs: their records, and the arrays that these point at."""

    layers: np.ndarray  # `LAYER` [layers]
    address: int  # of `layers`
    product: Callable[[np.ndarray, int, int, np.ndarray], None]
    outputs: tuple[int, ...]  # of each of them
    arrays: tuple[np.ndarray, ...]

    def multiply(self, x: np.ndarray) -> np.ndarray:
        """Return W x + b of all layers, one behind the other, f32 [outputs], for x f32 [in]."""
        y = np.empty(sum(self.outputs), np.float32)
        self.product(x, self.address, self.layers.size, y)
        return y


@dataclass(frozen=True)
class _Block:
    """One block of the decoder."""

    norms: tuple[_Norm, _Norm]
    query_key_value: JointLayers
    out: JointLayers
    head_norms: tuple[_Norm, _Norm] | None
    attention: Any
    gate_up: JointLayers
    down: JointLayers


@dataclass(frozen=True)
class _State:
    """What the modules of a decoder had when their tensors were read."""

    values: list[torch.Tensor | None]  # all parameters and buffers
    tensors: list[torch.Tensor]  # those that there are
    places: list[int]  # where their memory is
    versions: list[int] | None  # how often they were written; None if that is not counted
    layers: list[PackedLayer | None]  # of the packed layers
    rounded: list[bool]  # whether these round their inputs


@dataclass(frozen=True)
class _Tensors:
    """The tensors of the decoder as arrays."""

    blocks: tuple[_Block, ...]
    last_norm: _Norm


class TokenStep:
    """A decoder of `DECODERS`, with what was found out about it once.

    Each token asks whether the modules, their tensors and their hooks are still those that were seen.
    """

    def __init__(self, decoder: Any, classes: _Classes) -> None:
        """Look at a decoder, whose modules have the form if they are of these classes."""
        modules = list(decoder.modules())
        inner = modules[1:]
        self.decoder, self._classes = decoder, classes
        self._modules, self._kinds = modules, list(map(type, modules))
        self._children = [(module._modules, dict(module._modules)) for module in modules]
        self._hooks = [hooks for module in inner for hooks in (module._forward_hooks, module._forward_pre_hooks)]
        self._attributes = [module.__dict__ for module in inner]
        self._stores = [store for module in inner for store in (module._parameters, module._buffers)]
        self._packed = [module for module in inner if isinstance(module, HaloLinear)]
        self._is_of_the_form = _is_of_the_form(decoder, classes)
        self._seen: tuple[_State, _Tensors | None] | None = None
        self._caches = GrowingCaches()

    def is_current(self) -> bool:
        """Return whether the decoder still consists of the same modules, of the same classes."""
        if list(map(type, self._modules)) != self._kinds:
            return False
        return all(children == seen for children, seen in self._children)

    def fits(self) -> bool:
        """Return whether the blocks have the form, and nothing else happens in them."""
        if not self._is_of_the_form or any("forward" in attributes for attributes in self._attributes):
            return False
        if any(_changes_results(hook) for hooks in self._hooks if hooks for hook in hooks.values()):
            return False
        return not any(layer.token_classes is not None or layer.leaves_inputs_out for layer in self._packed)

    def hidden_state(self, token: torch.Tensor, position: torch.Tensor, cache: Any) -> torch.Tensor | None:
        """Return the last hidden state of one token, [1, 1, hidden], and add its keys and values to the cache.

        Args:
            token: i64 [1, 1].
            position: i64 [1, 1].
            cache: One that `cached_tokens` takes.

        Returns:
            None if a tensor of the decoder is not on the CPU, or is of a type that is not computed here.
        """
        tensors = self._read_tensors()
        if tensors is None:
            return None
        share_threads()
        embedded = self.decoder.embed_tokens(token)
        cosine, sine = (part.numpy().reshape(-1) for part in self.decoder.rotary_emb(embedded.float(), position))
        x = embedded.to(torch.float32, copy=True).numpy().reshape(-1)
        added = np.zeros_like(x)
        normed = np.empty_like(x)
        for block, stored in zip(tensors.blocks, cache.layers, strict=True):
            first, second = block.norms
            add_norm(x, added, first.weight, first.module.variance_epsilon, normed)
            head = block.attention.head_dim
            queries, keys = (outputs // head for outputs in block.query_key_value.outputs[:2])
            states = block.query_key_value.multiply(normed).reshape(-1, head)
            query, key, value = states[:queries], states[queries : queries + keys], states[queries + keys :]
            if block.head_norms is not None:
                for some, norm in zip((query, key), block.head_norms, strict=True):
                    head_norms(some, norm.weight, norm.module.variance_epsilon)
            rotate(states[: queries + keys], cosine, sine)
            found = np.empty_like(query)
            attend(query, *self._caches.add(stored, key, value), block.attention.scaling, found)
            added = block.out.multiply(found.reshape(-1))
            add_norm(x, added, second.weight, second.module.variance_epsilon, normed)
            gate, up = block.gate_up.multiply(normed).reshape(2, -1)
            gate_with(gate, up)
            added = block.down.multiply(up)
        add_norm(x, added, tensors.last_norm.weight, tensors.last_norm.module.variance_epsilon, normed)
        return torch.from_numpy(normed).to(embedded.dtype).reshape(embedded.shape)

    def _read_tensors(self) -> _Tensors | None:
        """Return the tensors as records, taken again if one was replaced, moved, converted or written since."""
        seen = self._seen
        if seen is not None and self._is_as(seen[0]):
            return seen[1]
        for layer in self._packed:
            layer.layer()  # checks tensors that were changed, and replaces those that do not count their changes
        values = list(chain.from_iterable(map(_VALUES, self._stores)))
        tensors = [value for value in values if value is not None]
        if any(tensor.device.type != "cpu" for tensor in tensors):
            return None
        try:
            versions = list(map(_VERSION, tensors))
        except RuntimeError:  # tensors made in inference mode do not count how often they are written
            versions = None
        layers, rounded = list(map(_LAYER, self._packed)), list(map(_ROUNDED, self._packed))
        state = _State(values, tensors, list(map(_PLACE, tensors)), versions, layers, rounded)
        # One assignment: other threads see the tensors and their state together.
        self._seen = state, _read(self.decoder)
        return self._seen[1]

    def _is_as(self, seen: "_State") -> bool:
        """Return whether the modules still have the same tensors, and none was moved or written since."""
        values = list(chain.from_iterable(map(_VALUES, self._stores)))
        if len(values) != len(seen.values) or not all(map(is_, values, seen.values)):
            return False
        if not all(map(is_, map(_LAYER, self._packed), seen.layers)):  # `refresh` makes them anew
            return False
        if seen.versions is None or list(map(_PLACE, seen.tensors)) != seen.places:
            return False
        return list(map(_VERSION, seen.tensors)) == seen.versions and list(map(_ROUNDED, self._packed)) == seen.rounded


_VALUES, _PLACE, _VERSION = dict.values, torch.Tensor.data_ptr, attrgetter("_version")
_LAYER, _ROUNDED = attrgetter("_layer"), attrgetter("int8_activations")


def _read(decoder: Any) -> _Tensors | None:
    """Return the tensors of a decoder on the CPU; None if one is of a kind that is not computed here."""
    norms = [module.weight for module in decoder.modules() if type(module) is type(decoder.norm)]
    if any(norm.dtype not in DTYPES for norm in norms):
        return None
    blocks = list(map(_read_block, decoder.layers))
    found = [block for block in blocks if block is not None]
    return _Tensors(tuple(found), _read_norm(decoder.norm)) if len(found) == len(blocks) else None


def _read_block(block: Any) -> _Block | None:
    attention, mlp = block.self_attn, block.mlp
    inputs = read_joint(attention.q_proj, attention.k_proj, attention.v_proj)
    out, gate_up = read_joint(attention.o_proj), read_joint(mlp.gate_proj, mlp.up_proj)
    down = read_joint(mlp.down_proj)
    if inputs is None or out is None or gate_up is None or down is None:
        return None
    has_norms = "q_norm" in attention._modules
    return _Block(
        norms=(_read_norm(block.input_layernorm), _read_norm(block.post_attention_layernorm)),
        query_key_value=inputs,
        out=out,
        head_norms=(_read_norm(attention.q_norm), _read_norm(attention.k_norm)) if has_norms else None,
        attention=attention,
        gate_up=gate_up,
        down=down,
    )


def _read_norm(module: Any) -> _Norm:
    return _Norm(bits_or_floats(module.weight), module)


def read_joint(*modules: Any) -> JointLayers | None:
    """Return linear layers on the CPU that have the same inputs; None if one is of a kind that is not computed here."""
    layers = list(map(_read_linear, modules))
    found = [layer for layer in layers if layer is not None]
    if len(found) < len(layers):
        return None
    records = np.stack([layer.records for layer in found])
    arrays = tuple(chain.from_iterable(layer.arrays for layer in found))
    product = products_of(records)
    if product is None:
        return None
    return JointLayers(records, records.ctypes.data, product, tuple(records["out"].tolist()), arrays)


def _read_linear(module: Any) -> StoredArrays | None:
    bias = module.bias
    if bias is not None and (bias.dtype not in DTYPES or bias.shape != (module.out_features,)):
        return None
    given = None if bias is None else bits_or_floats(bias.contiguous())
    if isinstance(module, HaloLinear):
        if module.int8_activations:
            try:
                check_integers(module.config.tile_in)
            except InfeasibleError:
                return None  # the module says so
        return packed_record(module.layer(), given, module.int8_activations)
    weight = module.weight
    if weight.dtype not in DTYPES or not weight.is_contiguous():
        return None
    if weight.shape != (module.out_features, module.in_features):
        return None
    return dense_record(bits_or_floats(weight), given)


def _classes_of(kind: type) -> _Classes:
    """Return the classes of the modules of a decoder, by their names in its family's module."""
    family, source = kind.__name__.removesuffix("Model"), sys.modules[kind.__module__]
    return _Classes(*(getattr(source, family + part) for part in ("DecoderLayer", "Attention", "MLP", "RMSNorm")))


def _is_of_the_form(decoder: Any, classes: _Classes) -> bool:
    """Return whether all modules of a decoder are of its family's classes or linear layers, and the gate is silu."""
    for block in decoder.layers:
        if type(block) is not classes.block:
            return False
        attention, mlp = block.self_attn, block.mlp
        if type(attention) is not classes.attention or type(mlp) is not classes.mlp:
            return False
        norms = [block.input_layernorm, block.post_attention_layernorm]
        norms += [attention._modules[name] for name in ("q_norm", "k_norm") if name in attention._modules]
        layers = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
        layers += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
        if any(type(norm) is not classes.norm for norm in norms):
            return False
        if any(type(layer) not in (nn.Linear, HaloLinear) for layer in layers):
            return False
        if type(mlp.act_fn) is not nn.SiLU and type(mlp.act_fn).__name__ != "SiLUActivation":
            return False
    return type(decoder.norm) is classes.norm


def _step(decoder: Any, classes: _Classes, given: dict[str, Any]) -> Any:
    """Return what `forward` of a decoder returns for a single token; None if transformers must compute it."""
    if not _is_single_token(decoder, **given):
        return None
    step = decoder.__dict__.get(STEP)
    if step is None or step.decoder is not decoder or not step.is_current():
        step = decoder.__dict__[STEP] = TokenStep(decoder, classes)
    if not step.fits():
        return None
    cache, position = given["past_key_values"], given.get("position_ids")
    if position is None:
        position = torch.tensor([[cache.get_seq_length()]], device="cpu")
    state = step.hidden_state(given["input_ids"], position, cache)
    if state is None:
        return None
    from transformers.modeling_outputs import BaseModelOutputWithPast

    return BaseModelOutputWithPast(last_hidden_state=state, past_key_values=cache)


def _is_single_token(
    decoder: Any,
    input_ids: torch.Tensor | None = None,
    attention_mask: Any = None,
    position_ids: torch.Tensor | None = None,
    past_key_values: Any = None,
    use_cache: bool | None = None,
    inputs_embeds: torch.Tensor | None = None,
    **others: Any,
) -> bool:
    """Return whether a call asks for one new token on the CPU, behind others in a growing cache, and nothing else."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or decoder.training:
        return False
    if hooks_of_all_modules._global_forward_hooks or hooks_of_all_modules._global_forward_pre_hooks:
        return False
    if input_ids is None or inputs_embeds is not None or past_key_values is None:
        return False
    if input_ids.shape != (1, 1) or input_ids.device.type != "cpu" or any(map(_asks_for_more, others.items())):
        return False
    config, weight = decoder.config, decoder.embed_tokens.weight
    asked = [getattr(config, name, False) for name in ("output_attentions", "output_hidden_states")]
    if any(asked) or not getattr(config, "return_dict", True) or config._attn_implementation not in ATTENTIONS:
        return False
    if not (getattr(config, "use_cache", True) if use_cache is None else use_cache):
        return False
    if config.num_hidden_layers != len(decoder.layers) or weight.device.type != "cpu" or weight.dtype not in DTYPES:
        return False
    tokens = cached_tokens(past_key_values, len(decoder.layers), weight.dtype)
    window = getattr(config, "sliding_window", None)
    if not tokens or (window is not None and tokens >= window):
        return False
    if position_ids is not None and position_ids.shape != (1, 1):
        return False
    if attention_mask is None:
        return True
    if not isinstance(attention_mask, torch.Tensor) or attention_mask.shape != (1, tokens + 1):
        return False
    return bool(attention_mask.all())


def _changes_results(hook: Any) -> bool:
    """Return False for the hooks that transformers leaves in a model that was once asked for all hidden states."""
    return getattr(hook, "__module__", None) != "transformers.utils.output_capturing"


def _asks_for_more(argument: tuple[str, Any]) -> bool:
    """Return whether an argument of a call may change its result."""
    name, value = argument
    harmless = value is None or value is False or name == "cache_position"
    return value is False if name == "return_dict" else not harmless
