"""Train scales and offsets of a packed model towards its full-precision model; codes and tile classes stay.

A weight is the word of its code times the scale of its (output channel, tile), plus the offset of that tile, plus the
sparse weight there. Words decide the clock and the energy of the MAC, scales and offsets do not. So these can be
trained after rounding, on the loss of the whole model. Scales cost no extra bits. An offset costs 16 bits, and one
product of a token: with the sum of the tile's activations. The loss is the Kullback-Leibler divergence from the
next-token distribution of the full-precision model to that of the packed model. The idea, training what leaves the
codes alone, is that of QA-LoRA (arXiv 2309.14717), whose adapter over pooled inputs merges into such offsets.

A scale is trained as a relative change of what it was. An offset is trained in units of its scale times the root mean
square of the tile's words. Adam trains both, with a learning rate that falls to zero along a cosine. Some windows of
the text are held out. The values with the least divergence there are kept, in float16; those of the start are a
candidate too.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Float64, Int64
from torch import nn

from haloquant.errors import InputError
from haloquant.kernels.dispatch import share_threads
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.quant.format.packing import exponent_of, unpack
from haloquant.quant.layer import mac_values
from haloquant.records import Trained

CHECKS = 5  # times at which the held-out windows are scored while training
BETAS = (0.9, 0.95)  # Adam's: runs are short, so its second moment forgets faster than by its default
LARGEST_FLOAT16 = 65504.0
Logits = Callable[[torch.Tensor], torch.Tensor]  # token ids [windows, t] -> logits [windows, t, vocabulary]


@dataclass(frozen=True)
class Training:
    """What is trained, how long and how fast.

    `learning_rate` is the relative change of a scale in one step of Adam; `batch` counts windows per step.
    """

    steps: int
    learning_rate: float = 1e-3
    batch: int = 1
    seed: int = 0
    train: Trained = "scales"


@dataclass(frozen=True)
class Recovered:
    """Trained scales and offsets, and the divergence of each held-out window (nats per token) before and after.

    `step` is the step after which they were taken; 0 means that training did not help and they are as they were.
    `offsets` is empty if none were trained or training did not help.
    """

    scales: Mapping[str, Float16[np.ndarray, "out across"]]
    offsets: Mapping[str, Float16[np.ndarray, "out across"]]
    before: Float64[np.ndarray, " windows"]
    after: Float64[np.ndarray, " windows"]
    step: int


class Scratch:
    """Memory in which the layers, one after the other, make a weight and its gradient: float32, as long as the longest.

    Memory that is asked for anew in every product costs more time than the arithmetic, by the pages that are cleared.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        """Reserve memory for weights of at most `count` elements."""
        self.weight, self.gradient = (torch.empty(count, device=device) for _ in range(2))


class ScaledProduct(nn.Module):
    """The product of a packed layer whose scales and offsets are trained; its codes and its sparse part are constant.

    `change` is the relative change of every scale, `shift` the change of every offset in units of `unit`. Where
    `as_stored` is set, the product takes both as float16 would store them.
    """

    words: torch.Tensor
    scale: torch.Tensor
    offset: torch.Tensor
    unit: torch.Tensor
    sparse_place: torch.Tensor
    sparse_weight: torch.Tensor
    scratch: Scratch  # shared by all layers
    as_stored: bool = False

    def __init__(self, layer: HaloLinear, train: Trained = "both") -> None:
        """Decode the codes of a layer, on its device and in the type of its model."""
        super().__init__()
        config = layer.config
        arrays = {name: tensor.cpu().numpy() for name, tensor in layer.stored().items()}
        q = unpack(arrays, layer.name, config.books(), config.tile_out, config.tile_in)
        grid, device = q.tiles.grid, layer.weight_packed.device
        padded = np.zeros((grid.out_features, grid.across * grid.tile_in), np.int8)
        padded[:, : grid.in_features] = mac_values(q)
        words = torch.from_numpy(padded.reshape(grid.out_features, grid.across, grid.tile_in))
        self.grid, self.bias = grid, layer.bias
        self.exponent = exponent_of(arrays["weight_shape"].tolist())
        self.register_buffer("words", words.to(device, layer.weight.dtype))
        self.register_buffer("scale", torch.from_numpy(q.scale).to(device))
        offset = np.zeros_like(q.scale) if q.offset is None else q.offset
        self.register_buffer("offset", torch.from_numpy(offset).to(device))
        self.register_buffer("unit", self.scale.abs() * words.to(device).float().square().mean(-1).sqrt())
        place = q.sparse.rows.astype(np.int64) * padded.shape[1] + q.sparse.cols
        self.register_buffer("sparse_place", torch.from_numpy(place).to(device))
        sparse = q.sparse.values.astype(np.float32) * q.sparse.scale[q.sparse.rows]
        self.register_buffer("sparse_weight", torch.from_numpy(sparse).to(device))
        self.change = nn.Parameter(torch.zeros_like(self.scale), train != "offsets")
        self.shift = nn.Parameter(torch.zeros_like(self.scale), train != "scales")

    def weight(self, scale: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """Return the weight [out, in] in float32 for scales and offsets [out, across]. The layers share its memory."""
        dense = self.scratch.weight[: self.words.numel()].view(self.words.shape)
        torch.mul(self.words, scale[..., None], out=dense)
        dense += offset[..., None]
        dense.view(-1).index_add_(0, self.sparse_place, self.sparse_weight)
        return dense.view(self.grid.out_features, -1)[:, : self.grid.in_features]

    def gradients(self, y: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of scales and offsets [out, across] for that of the outputs [tokens, out] and inputs."""
        dense = self.scratch.gradient[: self.words.numel()].view(self.grid.out_features, -1)
        dense[:, self.grid.in_features :] = 0
        if y.dtype == torch.float32 and dense.shape[1] == self.grid.in_features:
            torch.mm(y.T, x, out=dense)
        else:
            dense[:, : self.grid.in_features] = y.T @ x
        tiles = dense.view(self.words.shape)
        of_offsets = tiles.sum(-1)
        return tiles.mul_(self.words).sum(-1), of_offsets

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return x W^T + b for the input x, in its type."""
        y: Any = _Product.apply(input, *self.values(), self)
        return y if self.bias is None else y + self.bias

    def values(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the trained scales and offsets, float32 [out, across]."""
        if self.as_stored:
            scale, offset = self.stored()
            return scale.float() * 2.0**-self.exponent, offset.float() * 2.0**-self.exponent
        return self.scale * (1 + self.change), self.offset + self.unit * self.shift

    def stored(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the trained scales and offsets as the format stores them, float16 [out, across]."""
        trained = self.scale * (1 + self.change), self.offset + self.unit * self.shift
        grown = ((values.detach() * 2.0**self.exponent).clamp(-LARGEST_FLOAT16, LARGEST_FLOAT16) for values in trained)
        scale, offset = (values.half() for values in grown)
        return scale, offset


class _Product(torch.autograd.Function):
    """x W^T whose backward pass makes the weight again, so that no weight in floating point is kept between them."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor, layer: ScaledProduct) -> Any:
        ctx.save_for_backward(x, scale, offset)
        ctx.layer = layer
        return nn.functional.linear(x, layer.weight(scale, offset).to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor, None]:
        x, scale, offset = ctx.saved_tensors
        layer, y = ctx.layer, gradients[0]
        into_x = y @ layer.weight(scale, offset).to(y.dtype) if ctx.needs_input_grad[0] else None
        return into_x, *layer.gradients(y.flatten(0, -2), x.flatten(0, -2)), None


@contextmanager
def trainable_scales(model: nn.Module, train: Trained = "both") -> Iterator[dict[str, ScaledProduct]]:
    """Within the block, the packed layers of a model compute with values that are trained; {name: product}.

    Raises:
        InputError: The model has no packed layer.
    """
    layers = {module.name: module for module in model.modules() if isinstance(module, HaloLinear)}
    if not layers:
        raise InputError("a model whose scales are trained must have packed layers, and it has none")
    share_threads()  # codes are decoded by numba
    products = {name: ScaledProduct(layer, train) for name, layer in layers.items()}
    device = next(iter(products.values())).words.device
    scratch = Scratch(max(product.words.numel() for product in products.values()), device)
    for product in products.values():
        product.scratch = scratch
    try:
        for name, layer in layers.items():
            layer.forward = products[name].forward
        yield products
    finally:
        for layer in layers.values():
            layer.__dict__.pop("forward", None)


def divergence(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Return KL(teacher || student) of every window, nats per token [windows], for logits [windows, t, vocabulary]."""
    wanted, given = (logits.float().log_softmax(-1) for logits in (teacher, student))
    return nn.functional.kl_div(given, wanted, reduction="none", log_target=True).sum(-1).mean(-1)


def recover(
    student: Any,
    teacher: Logits,
    training: Int64[np.ndarray, "n t"],
    held_out: Int64[np.ndarray, "m t"],
    how: Training,
    progress: Callable[[int, int], None] | None = None,
) -> Recovered:
    """Train scales, offsets or both of a packed model on its divergence from a teacher.

    Args:
        student: a packed model of transformers; it is as before afterwards.
        teacher: gives the logits of the full-precision model.
        training: windows of tokens to train on.
        held_out: windows of tokens that choose among the values seen; none of them trains.
        how: what is trained, steps, learning rate, windows per step and seed.
        progress: called with steps done and in total.

    Returns:
        The scales and offsets of every packed layer, exactly as stored before if none was better.

    Raises:
        InputError: The model has no packed layer, or the divergence is not finite.
    """
    device = next(student.parameters()).device
    with trainable_scales(student, how.train) as products:
        both = [value for product in products.values() for value in (product.change, product.shift)]
        trained = [value for value in both if value.requires_grad]  # no bias: those belong to the model
        optimizer = torch.optim.AdamW(trained, lr=how.learning_rate, betas=BETAS, weight_decay=0.0)
        before = best = _held_out(student, teacher, products, held_out, device)
        kept, taken = {name: product.stored() for name, product in products.items()}, 0
        order = _orders(len(training), how)
        every = max(1, math.ceil(how.steps / CHECKS))
        for step in range(1, how.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = how.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - 1) / how.steps))
            ids = torch.from_numpy(training[[next(order) for _ in range(how.batch)]]).to(device)
            with torch.no_grad():
                wanted = teacher(ids)
            loss = divergence(wanted, student(input_ids=ids, use_cache=False).logits).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % every == 0 or step == how.steps:
                found = _held_out(student, teacher, products, held_out, device)
                if found.mean() < best.mean():
                    best, taken = found, step
                    kept = {name: product.stored() for name, product in products.items()}
            if progress is not None:
                progress(step, how.steps)
    scales = {name: scale.cpu().numpy() for name, (scale, _) in kept.items()}
    offsets = {name: offset.cpu().numpy() for name, (_, offset) in kept.items()}
    return Recovered(scales, offsets if taken and how.train != "scales" else {}, before, best, taken)


def _held_out(
    student: Any, teacher: Logits, products: Mapping[str, ScaledProduct], windows: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return the divergence of every held-out window, f64 [windows], with the trained values as float16 stores them."""
    found = []
    with torch.no_grad():
        for product in products.values():
            product.as_stored = True
        for window in windows:
            ids = torch.from_numpy(window[None]).to(device)
            found.append(divergence(teacher(ids), student(input_ids=ids, use_cache=False).logits).item())
        for product in products.values():
            product.as_stored = False
    if not np.isfinite(found).all():
        raise InputError(
            "the divergence of the packed model from its teacher must be finite, and is not: a weight is damaged, or "
            "values pass the range of the type in which the models compute; use float32, or a lower learning rate"
        )
    return np.array(found, np.float64)


def _orders(count: int, how: Training) -> Iterator[int]:
    """Yield the windows of each step: every window once, shuffled, then again in another order."""
    generator = np.random.default_rng(how.seed)
    while True:
        yield from generator.permutation(count).tolist()
