"""A linear layer of torch that stores packed tensors and computes from them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from haloquant.errors import FormatError, InputError
from haloquant.kernels.dispatch import dequantize, linear, rounded_linear
from haloquant.kernels.fallback import masked_inputs, round_tokens
from haloquant.kernels.layer_tensors import PackedLayer, packed_layer
from haloquant.kernels.torch_operator import compiled_linear
from haloquant.lm.attention.token_importance import TokenClasses
from haloquant.lm.packed.config import PackedConfig
from haloquant.lm.packed.tensor_state import TensorState
from haloquant.quant.format.bit_layout import count_wrong
from haloquant.quant.format.input_masks import MASK_TENSORS, NORM, THRESHOLD
from haloquant.quant.format.packing import DENSE, OPTIONAL, check_layer, sizes_of

# Buffers whose type stays when the model is converted to another.
KEPT_BUFFERS = ("weight_scale", "weight_offset", "sparse_scale", *MASK_TENSORS)


class HaloLinear(nn.Linear):
    """y = x W^T + b from packed tensors, which are buffers with the names of the format.

    It is a linear layer of torch, so that tools that adapt linear layers (LoRA) accept it.

    `weight` is an empty tensor of the model's type. It gives type and device to callers that ask a linear layer for
    them. In a file, its shape is refused by a reader that does not know the packed names.
    """

    weight: torch.Tensor  # type: ignore[assignment]
    weight_packed: torch.Tensor
    # Transformers draws no random numbers for such a module: some families look at the two sizes of its weight.
    _is_hf_initialized: bool = True
    int8_activations: bool = False  # whether the input is rounded to 8 bits, with one scale for each token
    token_classes: TokenClasses | None = None  # which tokens are rounded to fewer bits; it counts if inputs are rounded

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
        for buffer in (*DENSE, *OPTIONAL):
            if buffer in shapes:
                kind, shape = shapes[buffer]
                self.register_buffer(buffer, torch.empty(shape, dtype=kind, device=device))
        self.register_buffer("weight", torch.empty(0, dtype=dtype, device=device))
        given = nn.Parameter(torch.empty(features[0], dtype=dtype, device=device), False) if bias else None
        self.register_parameter("bias", given)
        self._layer: PackedLayer | None = None
        self._seen: TensorState | None = None  # the tensors that `_layer` was made of
        self._checked: TensorState | None = None  # the tensors that `check` found sound
        self.register_load_state_dict_post_hook(_refresh_after_load)

    def stored(self) -> dict[str, torch.Tensor]:
        """Return the packed tensors by their names in the format."""
        return {name: buffer for name in (*DENSE, *OPTIONAL) if (buffer := self._buffers.get(name)) is not None}

    def check(self) -> None:
        """Refuse tensors that do not fit together, and codes that are not below the size of their codebook.

        Raises:
            FormatError: The tensors are damaged.
        """
        stored = self.stored()
        arrays = {name: tensor.cpu().numpy() for name, tensor in stored.items()}
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
        self._checked = TensorState(stored)

    def layer(self) -> PackedLayer:
        """Return the tensors as the kernels take them.

        This form holds tables that are computed from the class map and the counts of sparse weights. It is computed
        again, and the tensors are checked again, after a tensor was replaced, moved or changed in place, and after
        `load_state_dict`. Two kinds of change cannot be seen here: writing through `tensor.data` or a numpy view, and
        writing into a tensor of a module that `torch.compile` runs. Call `refresh` after them.

        Raises:
            FormatError: The changed tensors do not fit together.
        """
        made = self._layer
        if torch.compiler.is_compiling():  # versions of tensors cannot be traced
            if made is not None and made.packed is self.weight_packed:
                return made
        elif made is not None and self._seen is not None and self._seen.holds(self._buffers):
            return made
        return self._make_layer()

    def _make_layer(self) -> PackedLayer:
        stored = self.stored()
        if any(tensor.is_inference() for tensor in stored.values()):  # such tensors do not count their changes
            with torch.inference_mode(False):
                self._buffers |= {name: tensor.clone() for name, tensor in stored.items()}
            stored = self.stored()
        if self._checked is None or self._checked.was_written(self._buffers):
            self.check()
        values = tuple(book.values for book in self.config.codebooks)
        made = packed_layer(stored, values, self.config.tile_out, self.config.tile_in)
        # Tensors that were moved are not checked again in full: with weights in slow memory that is every pass.
        if int(made.offsets[-1]) != made.packed.numel():
            raise FormatError(
                f"weight_packed of {self.name} must be {int(made.offsets[-1])} bytes for its class map, not "
                f"{made.packed.numel()}: one of them was replaced"
            )
        if made.sparse is not None and int(made.sparse.row_ptr[-1]) != made.sparse.value.numel():
            raise FormatError(
                f"the counts of sparse weights of {self.name} must be those of its values: one was replaced"
            )
        self._layer, self._seen = made, TensorState(stored)
        return made

    def refresh(self) -> None:
        """Forget what was computed from the tensors, and compute it from the tensors as they are now.

        Raises:
            FormatError: The tensors do not fit together.
        """
        made_before = self._layer is not None
        self._layer = self._seen = self._checked = None
        if made_before and self.weight_packed.device.type != "meta":
            self.layer()  # now, because compiled code reads the tables of `_layer` and does not call `layer`

    def __getstate__(self) -> dict[str, Any]:
        """Return what `copy` and `pickle` keep: a copy of a tensor counts its changes from 0, so no table is kept."""
        return self.__dict__ | {"_layer": None, "_seen": None, "_checked": None}

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return x W^T + b for the input x, [..., in] -> [..., out], in the type of x.

        With a mask of inputs, a token that comes alone does without those that the mask leaves out: the tokens of a
        prompt come together, and a generated token comes alone.
        """
        x = self._sparse(input)
        if torch.is_grad_enabled() and x.requires_grad:  # the kernels have no backward pass; the weights are constant
            if self.int8_activations:  # rounding has no gradient of its own: it is passed straight through
                rows = x.detach().reshape(-1, self.in_features).to(torch.float32)
                codes, scale = round_tokens(rows, self._steps(x))
                x = x + ((codes * scale[:, None]).view(x.shape).to(x.dtype) - x).detach()
            y = nn.functional.linear(x, self.dequantize(x.dtype))
        elif torch.compiler.is_compiling():
            if self.token_classes is not None:  # torch.compile then runs this layer as it is
                raise InputError("a layer whose tokens have classes must run as it is, not in one compiled graph")
            y = compiled_linear(x, self.layer(), self.int8_activations)
        elif self.int8_activations:
            y = rounded_linear(x, self.layer(), self._steps(x))
        else:
            y = linear(x, self.layer())
        return y if self.bias is None else y + self.bias

    @property
    def takes_inputs_whole(self) -> bool:
        """Whether inputs are neither rounded nor left out."""
        return not self.int8_activations and not self.leaves_inputs_out

    @property
    def leaves_inputs_out(self) -> bool:
        """Whether there is a mask of inputs."""
        return self._buffers.get(NORM) is not None

    def _steps(self, x: torch.Tensor) -> torch.Tensor | None:
        """Return 1 / the largest code of each token of x, f32 [tokens]; None where all have 8 bits."""
        if self.token_classes is None:
            return None
        return self.token_classes.steps(x.numel() // self.in_features, self.name, x.device)

    def _sparse(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with zeros in place of the inputs that a token which comes alone does without."""
        norm, threshold = self._buffers.get(NORM), self._buffers.get(THRESHOLD)
        if norm is None or threshold is None or x.shape[-2:-1] not in ((), (1,)):
            return x
        return masked_inputs(x, norm, threshold)

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
        kind = ", int8_activations=True" if self.int8_activations else ""
        kind += ", token_classes=True" if self.token_classes is not None else ""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}{kind}"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "HaloLinear":
        """Move the buffers with the model, but keep the types of scales and masks: a conversion would round them."""
        kept = {name: self._buffers[name] for name in KEPT_BUFFERS if name in self._buffers}
        sound = self._checked is not None and self._checked.holds(self._buffers)
        made_before = self._layer is not None
        super()._apply(fn, recurse)
        for name, tensor in kept.items():
            moved = self._buffers[name]
            if moved is not None and tensor is not None and moved.dtype != tensor.dtype:
                self._buffers[name] = tensor.to(moved.device)
        if self.weight_packed.device.type != "meta":
            if sound:  # moving changes no value
                self._checked = TensorState(self.stored())
            if made_before:  # now, because compiled code cannot make it
                self.layer()
        return self


def _refresh_after_load(module: nn.Module, _: Any) -> None:
    assert isinstance(module, HaloLinear)  # noqa: S101 - it registers this hook for itself
    module.refresh()
