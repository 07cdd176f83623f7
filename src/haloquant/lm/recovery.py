"""Train the scales of a packed model towards its full-precision model; codes and tile classes stay as they are.

A weight is the word of its code times the scale of its (output channel, tile), plus the sparse weight there. Words
decide the clock and the energy of the MAC, scales do not. So the scales can be trained after rounding, on the loss of
the whole model, and they cost no extra bits. The loss is the Kullback-Leibler divergence from the next-token
distribution of the full-precision model to that of the packed model. The idea, training what leaves the codes alone, is
that of QA-LoRA (arXiv 2309.14717).

Each scale is trained as a relative change of what it was, with Adam and a learning rate that falls to zero along a
cosine. Some windows of the text are held out. The scales with the least divergence there are kept, in float16; those of
the start are a candidate too.
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

CHECKS = 5  # times at which the held-out windows are scored while training
BETAS = (0.9, 0.95)  # Adam's: runs are short, so its second moment forgets faster than by its default
LARGEST_FLOAT16 = 65504.0
Logits = Callable[[torch.Tensor], torch.Tensor]  # token ids [windows, t] -> logits [windows, t, vocabulary]


@dataclass(frozen=True)
class Training:
    """How long and how fast scales are trained.

    `learning_rate` is the relative change of a scale in one step of Adam; `batch` counts windows per step.
    """

    steps: int
    learning_rate: float = 1e-3
    batch: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Recovered:
    """Trained scales, and the divergence of each held-out window (nats per token) before and after.

    `step` is the step after which the scales were taken; 0 means that training did not help and they are as they were.
    """

    scales: Mapping[str, Float16[np.ndarray, "out across"]]
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
    """The product of a packed layer with scales that are trained; its codes and its sparse part are constant."""

    words: torch.Tensor
    scale: torch.Tensor
    sparse_place: torch.Tensor
    sparse_weight: torch.Tensor
    scratch: Scratch  # shared by all layers

    def __init__(self, layer: HaloLinear) -> None:
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
        place = q.sparse.rows.astype(np.int64) * padded.shape[1] + q.sparse.cols
        self.register_buffer("sparse_place", torch.from_numpy(place).to(device))
        sparse = q.sparse.values.astype(np.float32) * q.sparse.scale[q.sparse.rows]
        self.register_buffer("sparse_weight", torch.from_numpy(sparse).to(device))
        self.change = nn.Parameter(torch.zeros_like(self.scale))

    def weight(self, scale: torch.Tensor) -> torch.Tensor:
        """Return the weight [out, in] in float32 for scales [out, across]. It lies in memory that the layers share."""
        dense = self.scratch.weight[: self.words.numel()].view(self.words.shape)
        torch.mul(self.words, scale[..., None], out=dense)
        dense.view(-1).index_add_(0, self.sparse_place, self.sparse_weight)
        return dense.view(self.grid.out_features, -1)[:, : self.grid.in_features]

    def gradient(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the scales [out, across] for that of the outputs [tokens, out] and the inputs."""
        dense = self.scratch.gradient[: self.words.numel()].view(self.grid.out_features, -1)
        dense[:, self.grid.in_features :] = 0
        if y.dtype == torch.float32 and dense.shape[1] == self.grid.in_features:
            torch.mm(y.T, x, out=dense)
        else:
            dense[:, : self.grid.in_features] = y.T @ x
        return dense.view(self.words.shape).mul_(self.words).sum(-1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return x W^T + b for the input x, in its type."""
        y: Any = _Product.apply(input, self.scale * (1 + self.change), self)
        return y if self.bias is None else y + self.bias

    def stored_scale(self) -> torch.Tensor:
        """Return the trained scales as the format stores them, float16 [out, across]."""
        trained = (self.scale * (1 + self.change)).detach() * 2.0**self.exponent
        return trained.clamp(-LARGEST_FLOAT16, LARGEST_FLOAT16).half()


class _Product(torch.autograd.Function):
    """x W^T whose backward pass makes the weight again, so that no weight in floating point is kept between them."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor, layer: ScaledProduct) -> torch.Tensor:
        ctx.save_for_backward(x, scale)
        ctx.layer = layer
        return nn.functional.linear(x, layer.weight(scale).to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor, None]:
        x, scale = ctx.saved_tensors
        layer, y = ctx.layer, gradients[0]
        into_x = y @ layer.weight(scale).to(y.dtype) if ctx.needs_input_grad[0] else None
        return into_x, layer.gradient(y.flatten(0, -2), x.flatten(0, -2)), None


@contextmanager
def trainable_scales(model: nn.Module) -> Iterator[dict[str, ScaledProduct]]:
    """Within the block, the packed layers of a model compute with scales that are trained; {name: product}.

    Raises:
        InputError: The model has no packed layer.
    """
    layers = {module.name: module for module in model.modules() if isinstance(module, HaloLinear)}
    if not layers:
        raise InputError("a model whose scales are trained must have packed layers, and it has none")
    share_threads()  # codes are decoded by numba
    products = {name: ScaledProduct(layer) for name, layer in layers.items()}
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
    """Train the scales of a packed model on its divergence from a teacher.

    Args:
        student: a packed model of transformers; it is as before afterwards.
        teacher: gives the logits of the full-precision model.
        training: windows of tokens to train on.
        held_out: windows of tokens that choose among the scales seen; none of them trains.
        how: steps, learning rate, windows per step and seed.
        progress: called with steps done and in total.

    Returns:
        The scales of every packed layer, exactly as stored before if none was better.

    Raises:
        InputError: The model has no packed layer, or the divergence is not finite.
    """
    device = next(student.parameters()).device
    with trainable_scales(student) as products:
        changes = [product.change for product in products.values()]
        optimizer = torch.optim.AdamW(changes, lr=how.learning_rate, betas=BETAS, weight_decay=0.0)
        before = best = _held_out(student, teacher, products, held_out, device)
        scales, taken = {name: product.stored_scale() for name, product in products.items()}, 0
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
                    scales = {name: product.stored_scale() for name, product in products.items()}
            if progress is not None:
                progress(step, how.steps)
    kept = {name: scale.cpu().numpy() for name, scale in scales.items()}
    return Recovered(kept, before, best, taken)


def _held_out(
    student: Any, teacher: Logits, products: Mapping[str, ScaledProduct], windows: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return the divergence of every held-out window, f64 [windows], with the scales rounded to float16."""
    trained = {name: product.change.detach().clone() for name, product in products.items()}
    found = []
    with torch.no_grad():
        for product in products.values():
            start = product.scale
            rounded = product.stored_scale().float()
            product.change.copy_(torch.where(start == 0, 0.0, rounded / start - 1))
        for window in windows:
            ids = torch.from_numpy(window[None]).to(device)
            found.append(divergence(teacher(ids), student(input_ids=ids, use_cache=False).logits).item())
        for name, product in products.items():
            product.change.copy_(trained[name])
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
