"""A linear layer of torch that stores packed tensors and computes from them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from haloquant.errors import FormatError
from haloquant.kernels.dispatch import dequantize, linear
from haloquant.kernels.layer_tensors import PackedLayer, packed_layer
from haloquant.kernels.torch_operator import compiled_linear
from haloquant.lm.packed.config import PackedConfig
from haloquant.quant.format.bit_layout import count_wrong
from haloquant.quant.format.packing import DENSE, SPARSE, check_layer, sizes_of

FLOAT16_BUFFERS = ("weight_scale", "sparse_scale")


class HaloLinear(nn.Linear):
    """y = x W^T + b from packed tensors, which are buffers with the names of the format.

    It is a linear layer of torch, so that tools that adapt linear layers (LoRA) accept it.

    `weight` is an empty tensor of the model's type. It gives type and device to callers that ask a linear layer for
    them. In a file, its shape is refused by a reader that does not know the packed names.
    """

    weight: torch.Tensor  # type: ignore[assignment]
    weight_packed: torch.Tensor

    def __init__(
        self,
        name: str,
        config: PackedConfig,
        shapes: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
        features: tuple[int, int],
        bias: bool,
        dtype: torch.dtype,
        device: torch.device | str = "meta",
    ) -> None:
        """Make a layer with empty buffers.

        Args:
            name: name of the module, for error sentences.
            config: configuration of the model.
            shapes: type and shape of every stored tensor of the layer, from the headers.
            features: out_features and in_features.
            bias: whether the layer has a bias.
            dtype: the model's floating-point type.
            device: device of the empty tensors.
        """
        nn.Module.__init__(self)  # that of nn.Linear would make a weight
        self.name = name
        self.config = config
        self.out_features, self.in_features = features
        for buffer in (*DENSE, *SPARSE):
            if buffer in shapes:
                kind, shape = shapes[buffer]
                self.register_buffer(buffer, torch.empty(shape, dtype=kind, device=device))
        self.register_buffer("weight", torch.empty(0, dtype=dtype, device=device))
        self.bias = nn.Parameter(torch.empty(features[0], dtype=dtype, device=device), False) if bias else None
        self._layer: PackedLayer | None = None

    def stored(self) -> dict[str, torch.Tensor]:
        """Return the packed tensors by their names in the format."""
        return {name: buffer for name in (*DENSE, *SPARSE) if (buffer := self._buffers.get(name)) is not None}

    def check(self) -> None:
        """Refuse tensors that do not fit together, and codes that are not below the size of their codebook.

        Raises:
            FormatError: the tensors are damaged.
        """
        arrays = {name: tensor.cpu().numpy() for name, tensor in self.stored().items()}
        books = self.config.books()
        tiles = check_layer(arrays, self.name, books, self.config.tile_out, self.config.tile_in)
        if (tiles.grid.out_features, tiles.grid.in_features) != (self.out_features, self.in_features):
            raise FormatError(
                f"{self.name} must be packed as {(self.out_features, self.in_features)}, as config.json says, not "
                f"{(tiles.grid.out_features, tiles.grid.in_features)}"
            )
        wrong = count_wrong(arrays["weight_packed"], tiles.codebook, sizes_of(books), tiles.grid)
        if wrong:
            raise FormatError(
                f"codes of {self.name} must be below the size of their tile's codebook, but {wrong} are out of range: "
                "the file is damaged"
            )

    def layer(self) -> PackedLayer:
        """Return the tensors as the kernels take them; computed again after the tensors moved to another device."""
        if self._layer is None or self._layer.packed is not self.weight_packed:
            values = tuple(book.values for book in self.config.codebooks)
            self._layer = packed_layer(self.stored(), values, self.config.tile_out, self.config.tile_in)
        return self._layer

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return x W^T + b for the input x, [..., in] -> [..., out], in the type of x."""
        x = input
        if torch.is_grad_enabled() and x.requires_grad:  # the kernels have no backward pass; the weights are constant
            y = nn.functional.linear(x, self.dequantize(x.dtype))
        else:
            product = compiled_linear if torch.compiler.is_compiling() else linear
            y = product(x, self.layer())
        return y if self.bias is None else y + self.bias

    def dequantize(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the weight [out, in]."""
        return dequantize(self.layer()).to(dtype)

    def to_linear(self, dtype: torch.dtype | None = None) -> nn.Linear:
        """Return an ordinary linear layer with the same weight."""
        linear = nn.Linear(1, 1, bias=False)
        linear.in_features, linear.out_features = self.in_features, self.out_features
        linear.weight = nn.Parameter(self.dequantize(self.weight.dtype if dtype is None else dtype), False)
        if self.bias is not None:
            linear.bias = self.bias
        return linear

    def extra_repr(self) -> str:
        """Return the text that `print(model)` shows."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "HaloLinear":
        """Move the buffers with the model, but keep scales in float16, since a conversion would round them."""
        kept = {name: self._buffers[name] for name in FLOAT16_BUFFERS if name in self._buffers}
        super()._apply(fn, recurse)
        for name, tensor in kept.items():
            moved = self._buffers[name]
            if moved is not None and tensor is not None and moved.dtype != torch.float16:
                self._buffers[name] = tensor.to(moved.device)
        return self
