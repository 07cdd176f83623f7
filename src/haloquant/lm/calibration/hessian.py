"""Sums over calibration tokens for Hessian and Fisher, collected by hooks on the linear layers of a running model.

A hook receives the input x of a layer and, if a loss is differentiated, the gradient of its output. The gradient of a
weight is formed from these two; autograd does not keep it, so no second copy of the model is in memory. Layers that
read the same tensor (q, k and v; gate and up) share one sum. The model itself is not changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from haloquant.errors import InputError
from haloquant.kernels.bfloat16_products import Bfloat16Products, transposed_product
from haloquant.kernels.device_copies import to_host
from haloquant.lm.calibration.value_hessian import NOTE, AttentionWatch, ValueRecorder
from haloquant.lm.swap_weights import find_module
from haloquant.records import LayerStatistics


@dataclass
class InputSums:
    """Sums over the tokens of one layer input: x x^T, |x| and the maximum of |x|."""

    absolute: torch.Tensor  # [in], sum of |x| in float64, since many small terms are added
    largest: torch.Tensor  # [in], maximum of |x|
    gram: torch.Tensor | None  # [in, in], sum of x x^T
    tokens: int = 0

    @classmethod
    def zeros(cls, features: int, device: torch.device, with_gram: bool) -> "InputSums":
        """Return sums over zero tokens."""
        gram = torch.zeros(features, features, device=device) if with_gram else None
        absolute = torch.zeros(features, dtype=torch.float64, device=device)
        return cls(absolute, torch.zeros(features, device=device), gram)

    def copied(self) -> "InputSums":
        """Return a copy with tensors of its own."""
        gram = None if self.gram is None else self.gram.clone()
        return InputSums(self.absolute.clone(), self.largest.clone(), gram, self.tokens)

    def add(self, x: torch.Tensor, operands: torch.dtype = torch.float32) -> None:
        """Add the rows of x, float32 [tokens, in], rounded to the type `operands` before they are multiplied."""
        magnitude = x.abs()
        self.tokens += x.shape[0]
        self.absolute += magnitude.sum(0, dtype=torch.float64)
        if x.shape[0]:
            self.largest = torch.maximum(self.largest, magnitude.amax(0))
        if self.gram is not None:
            if operands == torch.float32:
                self.gram.addmm_(x.T, x)
            else:
                rounded = x.to(operands)
                self.gram += transposed_product(rounded, rounded)


@dataclass
class Recorder:
    """The sums of all recorded layers. `squares[layer]` is the sum over samples of the squared weight gradient.

    `values` collects the Hessian of value rows weighted by attention; without it they have that of the inputs.
    With `products` the model multiplies bfloat16 numbers; inputs and gradients are then rounded alike before they are
    multiplied. All sums are float32.
    """

    layers: Sequence[str]
    with_gram: bool
    inputs: dict[str, InputSums] = field(default_factory=dict)
    squares: dict[str, torch.Tensor] = field(default_factory=dict)
    batch: int = 1  # samples in the current forward pass
    values: ValueRecorder | None = None
    products: Bfloat16Products | None = None
    _last: tuple[torch.Tensor, int, InputSums] | None = None
    _alone: set[str] = field(default_factory=set)  # layers that also read tensors of their own
    _seen: set[str] = field(default_factory=set)  # layers that ran in this forward pass

    def add_input(self, layer: str, x: torch.Tensor) -> None:
        """Add the input of `layer`. If the layer before it read the same tensor, both share one sum, added once.

        A tensor that was changed in place between the two layers is not the same. A layer that is called twice in a
        pass, with a tensor that others read and with another one, shares no sum.
        """
        version = -1 if x.is_inference() else x._version
        again, self._seen = layer in self._seen, self._seen | {layer}
        same = self._last is not None and self._last[0] is x and self._last[1] == version
        if self._last is not None and same and layer not in self._alone:
            self.inputs[layer] = self._last[2]
            return
        rows = x.detach().reshape(-1, x.shape[-1]).float()
        sums = self.inputs.get(layer)
        if sums is None:
            sums = self.inputs[layer] = InputSums.zeros(rows.shape[1], rows.device, self.with_gram)
        elif again and any(other is sums for name, other in self.inputs.items() if name != layer):
            self._alone.add(layer)
            sums = self.inputs[layer] = sums.copied()
        sums.add(rows, self._operands)
        if layer not in self._alone:
            self._last = (x, version, sums)

    def add_gradient_by_sample(self, layer: str, x: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add (d loss_b / d W)^2 for each sample b of the batch. `gradient` is d loss / d output, [b, t, out]."""
        for row, delta in zip(self._by_sample(x), self._by_sample(gradient), strict=True):
            squared = transposed_product(delta, row)
            self._square(layer, squared.shape, x.device).addcmul_(squared, squared)

    def add_gradient_by_token(self, layer: str, x: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add the sum over tokens t of (delta_t x_t^T)^2: every position counts as a sample of its own."""
        rows, deltas = x.reshape(-1, x.shape[-1]).square(), gradient.reshape(-1, gradient.shape[-1]).square()
        shape = torch.Size((deltas.shape[1], rows.shape[1]))
        self._square(layer, shape, x.device).addmm_(deltas.T, rows)

    def _square(self, layer: str, shape: torch.Size, device: torch.device) -> torch.Tensor:
        if layer not in self.squares:
            self.squares[layer] = torch.zeros(shape, dtype=torch.float32, device=device)
        return self.squares[layer]

    @property
    def _operands(self) -> torch.dtype:
        return torch.float32 if self.products is None else torch.bfloat16

    def _by_sample(self, x: torch.Tensor) -> torch.Tensor:
        """Return x as [b, t, n], as it is multiplied. Some decoders flatten samples and tokens into one axis."""
        return x.detach().to(self._operands).reshape(self.batch, -1, x.shape[-1])

    def forget_last(self) -> None:
        """Release the last input; call this after each forward pass."""
        self._last = None
        self._seen = set()
        if self.values is not None:
            self.values.forget()


@contextmanager
def record(model: torch.nn.Module, recorder: Recorder, gradients: str | None) -> Iterator[Recorder]:
    """Record the layers of `recorder` within the `with` block. `gradients` is None, "sample" or "token"."""

    def hook_for(layer: str) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]:
        add = recorder.add_gradient_by_sample if gradients == "sample" else recorder.add_gradient_by_token

        def hook(_module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            x = args[0]
            with nullcontext() if recorder.products is None else recorder.products.paused():
                recorder.add_input(layer, x)
            if recorder.values is not None:
                recorder.values.add_output(layer, x, output)
            if gradients is not None and output.requires_grad:
                output.register_hook(partial(add, layer, x.detach()))

        return hook

    handles = [find_module(model, name).register_forward_hook(hook_for(name)) for name in recorder.layers]
    watch = nullcontext() if recorder.values is None else AttentionWatch(recorder.values, lambda: recorder.batch)
    try:
        with watch:
            yield recorder
    finally:
        for handle in handles:
            handle.remove()


def to_statistics(recorder: Recorder, source: str, samples: int) -> dict[str, LayerStatistics]:
    """Convert the sums to statistics: hessian = (2/T) sum x x^T, fisher = mean over samples of squared gradients.

    The value rows of a layer get their Hessian weighted by attention, if the recorder has it; `source` then says so.

    A layer that no token reached (an expert that was never selected) has 0 tokens and no arrays; `source` says so.

    Args:
        recorder: the sums over all windows.
        source: how the statistics were made.
        samples: number of windows.

    Raises:
        InputError: A sum of a layer is NaN or infinite.
    """
    shared: dict[int, Mapping[str, Any]] = {}
    result: dict[str, LayerStatistics] = {}
    for layer in recorder.layers:
        sums = recorder.inputs.get(layer)
        if sums is None or sums.tokens == 0:
            result[layer] = LayerStatistics(layer, 0, source="no calibration token reached this layer")
            continue
        squares = recorder.squares.get(layer)
        if id(sums) not in shared or squares is not None:
            _check_finite(layer, sums, squares)
        if id(sums) not in shared:  # layers of one input share their arrays
            shared[id(sums)] = _parts(sums)
        fisher = None if squares is None else to_host(squares / samples)
        known = LayerStatistics(layer, sums.tokens, fisher=fisher, source=source, **shared[id(sums)])
        result[layer] = _with_value_hessian(known, recorder.values)
    return result


def _check_finite(layer: str, sums: InputSums, squares: torch.Tensor | None) -> None:
    inputs = [sums.largest] if sums.gram is None else [sums.largest, sums.gram.diagonal()]
    for what, tensors in (("inputs", inputs), ("gradients", [] if squares is None else [squares])):
        if not all(bool(torch.isfinite(tensor.sum(dtype=torch.float64))) for tensor in tensors):
            raise InputError(
                f"the {what} of {layer} must be finite while the model reads the calibration text, and some are NaN or "
                "infinite: a weight is damaged, or values pass the range of float32"
            )


def _with_value_hessian(known: LayerStatistics, values: ValueRecorder | None) -> LayerStatistics:
    found = None if values is None else values.hessian(known.layer)
    if found is None:
        return known
    hessian, rows = found
    source = f"{known.source}; {NOTE}"
    if rows.all():
        return replace(known, hessian=hessian, source=source)
    return replace(known, value_hessian=hessian, value_rows=rows, source=source)


def _parts(sums: InputSums) -> Mapping[str, Any]:
    return {
        "hessian": None if sums.gram is None else to_host(sums.gram * (2.0 / sums.tokens)),
        "input_absmean": (sums.absolute / sums.tokens).float().cpu().numpy(),
        "input_absmax": sums.largest.cpu().numpy(),
    }
