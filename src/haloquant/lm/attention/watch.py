"""See the queries and keys of every attention while a model of transformers runs.

Attention is called through the registry of transformers (`AttentionInterface`). Two names are registered here, which
call what "sdpa" and "eager" call, after they showed the queries and keys. Positions are in queries and keys then, as
the products of attention take them. With a cache, the keys are those of all tokens so far.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

import torch

from haloquant.errors import InputError

WATCHED = {"sdpa": "haloquant_sdpa", "eager": "haloquant_eager"}  # a name holds that of what it calls
SLIDING = ("sliding_attention", "chunked_attention")


@runtime_checkable
class Watcher(Protocol):
    """What is called while a model runs."""

    def begin(self) -> None:
        """Take note that the model is called."""

    def see(self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float | None) -> None:
        """Take note of one attention.

        Args:
            query: [batch, heads, tokens, size].
            key: [batch, key heads, keys, size]; their number of heads divides that of the queries.
            mask: [batch, 1, tokens, keys], of bool (True: seen) or added to the products; None is causal.
            scale: factor of the products; None is 1 / sqrt(size).
        """

    def end(self) -> None:
        """Take note that the call is over."""


_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(model: Any, watcher: Watcher) -> Iterator[None]:
    """Within the block, show a watcher the attentions of every call of a model.

    Raises:
        InputError: The model does not call its attentions through the registry of transformers.
    """
    stop = watch(model, watcher)
    try:
        yield
    finally:
        stop()


def watch(model: Any, watcher: Watcher) -> Callable[[], None]:
    """Show a watcher the attentions of every call of a model, until the function that is returned is called.

    Raises:
        InputError: The model does not call its attentions through the registry of transformers.
    """
    check_watchable(model)
    before = str(model.config._attn_implementation)
    _register()
    model.set_attn_implementation(WATCHED[before])

    hooks = _Hooks(watcher)
    handles = [model.register_forward_pre_hook(hooks.begin), model.register_forward_hook(hooks.end, always_call=True)]

    def stop() -> None:
        for handle in handles:
            handle.remove()
        model.set_attn_implementation(before)

    return stop


class _Hooks:
    """Hooks of a model. A copy of the model has a copy of them, with a copy of the watcher."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher

    def begin(self, *_: Any) -> None:
        self.watcher.begin()
        _WATCHER.set(self.watcher)

    def end(self, *_: Any) -> None:
        _WATCHER.set(None)
        self.watcher.end()


def check_watchable(model: Any) -> None:
    """Refuse a model whose attentions cannot be seen, or forget the first token.

    Raises:
        InputError: It does not call its attentions through the registry of transformers, calls others than "sdpa" and
            "eager", or has attention over a sliding window, whose cache drops the first token.
    """
    name, config = type(model).__name__, model.config.get_text_config()
    if not model._can_set_attn_implementation():
        raise InputError(
            f"the model must call its attentions through transformers' registry to have tokens scored, and {name} does "
            "not"
        )
    chosen = str(model.config._attn_implementation)
    if chosen not in WATCHED:
        raise InputError(f"attention must be {' or '.join(WATCHED)} to have tokens scored, not {chosen}")
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds & set(SLIDING) or (not kinds and getattr(config, "sliding_window", None)):
        raise InputError(
            f"every attention must see the first token to have tokens scored, and {name} has some over a sliding window"
        )


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface  # they import the models' common part

    masks = AttentionMaskInterface()
    for plain, name in WATCHED.items():
        AttentionInterface.register(name, _attention(plain))
        AttentionMaskInterface.register(name, masks[plain])


def _attention(plain: str) -> Callable[..., Any]:
    def attend(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **settings: Any,
    ) -> Any:
        watcher = _WATCHER.get()
        if watcher is not None:
            watcher.see(query, key, attention_mask, settings.get("scaling"))
        return _plain(module, plain)(module, query, key, value, attention_mask, **settings)

    return attend


def _plain(module: torch.nn.Module, name: str) -> Callable[..., Any]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if name == "eager":  # each family has its own
        return sys.modules[type(module).__module__].eager_attention_forward
    return ALL_ATTENTION_FUNCTIONS[name]
