"""Leave out inputs of linear layers during an evaluation: those whose score is not above their layer's threshold.

The inputs that a token does without are replaced by zeros before a layer sees them, and before they are rounded. The
first tokens of every window may stay dense: they stand for a prompt, which a machine processes densely, while the other
tokens stand for generated ones. The authors of R-Sparse (arXiv 2504.19449) evaluate with half of the tokens dense.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from haloquant.errors import InputError
from haloquant.kernels.fallback import masked_inputs
from haloquant.lm.evaluation.perplexity import context_tokens
from haloquant.lm.swap_weights import find_module
from haloquant.quant.input_sparsity.scores import InputMask


@dataclass
class InputCounts:
    """Inputs that were kept, and all inputs, of the masked tokens of each layer; counted while the model runs."""

    kept: dict[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    seen: dict[str, int] = field(default_factory=dict[str, int])

    def density(self, layer: str) -> float:
        """Return the share of a layer's inputs that were kept; 1 for a layer without masked tokens."""
        return float(self.kept[layer]) / self.seen[layer] if self.seen.get(layer) else 1.0


@contextmanager
def sparse_inputs(model: Any, masks: Mapping[str, InputMask], dense_share: float = 0.0) -> Iterator[InputCounts]:
    """Within the block, the named layers do without the inputs that their masks leave out.

    Args:
        model: a loaded model.
        masks: the mask of every layer that has one.
        dense_share: share of every window, at its beginning, whose tokens keep all inputs.

    Yields:
        What was kept so far.

    Raises:
        InputError: (While the model runs.) The tokens of a layer are not those of the windows, as with experts, and
            some tokens shall be dense.
    """
    counts, window = InputCounts(), _Window()
    device = next(model.parameters()).device
    with ExitStack() as stack:
        stack.callback(model.register_forward_pre_hook(window.see, with_kwargs=True).remove)
        for layer, mask in masks.items():
            norm = torch.from_numpy(mask.norm).to(device, torch.float32)
            hook = _pre_hook(layer, norm, mask.threshold, window, dense_share, counts)
            stack.callback(find_module(model, layer).register_forward_pre_hook(hook).remove)
        yield counts


class _Window:
    """The shape of the windows that the model was called with: how many, and how long."""

    def __init__(self) -> None:
        self.shape = (0, 0)

    def see(self, _module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        self.shape = (0, 0) if ids is None else (int(ids.shape[0]), int(ids.shape[1]))


def _pre_hook(
    layer: str, norm: torch.Tensor, threshold: float, window: _Window, dense_share: float, counts: InputCounts
) -> Callable[[torch.nn.Module, tuple[Any, ...]], Any]:
    def hook(_module: torch.nn.Module, args: tuple[Any, ...]) -> Any:
        x = args[0]
        if not dense_share:
            found = masked_inputs(x, norm, threshold)
            _count(counts, layer, found)
            return (found, *args[1:])
        batch, tokens = window.shape
        if x.numel() != batch * tokens * x.shape[-1]:
            raise InputError(
                f"the share of dense tokens must be 0 for a model with experts, whose tokens {layer} gets in another "
                f"order, not {dense_share:g}"
            )
        rows = x.reshape(batch, tokens, -1)  # OPT flattens the windows before its feed-forward layers
        first = context_tokens(tokens, dense_share)
        sparse = masked_inputs(rows[:, first:], norm, threshold)
        _count(counts, layer, sparse)
        return (torch.cat([rows[:, :first], sparse], 1).reshape(x.shape), *args[1:])

    return hook


def _count(counts: InputCounts, layer: str, x: torch.Tensor) -> None:
    counts.kept[layer] = counts.kept.get(layer, 0) + torch.count_nonzero(x)
    counts.seen[layer] = counts.seen.get(layer, 0) + x.numel()
