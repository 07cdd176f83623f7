"""The experts of a mixture as linear layers of their own, in a model that stacks their matrices into one parameter.

transformers keeps the matrices of all experts of a layer in one 3-D parameter, and its forward pass multiplies by one
slice after the other. `unstack` replaces the parameter by an `ExpertStack`: a slice of it stands for the linear layers
of one expert, and a product with the slice calls these layers. So hooks, replaced weights and packed layers work on
experts as on any linear layer. The gate, the biases and the weighting of the experts stay in the model's own code.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.linear_layers import LinearLayer
from haloquant.lm.tensor_names import Target, TensorNames, parameter_at

NAMES = "halo_names"  # attribute of a model: {name in the checkpoint: path in the model}
_NUMBERED = re.compile(r"^(.+)\.(\d+)\.([^.]+)$")


@dataclass(frozen=True)
class ExpertPlace:
    """Where the matrix of one expert lies: in slice `expert` of the stacked parameter `key`.

    Several matrices can share a slice (gate and up); `position` orders them. `path` is the path of the layer's module.
    """

    name: str
    key: str
    expert: int
    position: int
    path: str
    whole: bool  # the layer is the whole slice


class ExpertWeight:
    """The weight of one expert, in place of a slice of the stacked parameter. A product with it calls its layers."""

    def __init__(self, layers: list[nn.Module], turned: bool) -> None:
        self.layers, self.turned = layers, turned

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs of the expert's layers for x, side by side."""
        if not x.numel():
            width = sum(int(layer.out_features) for layer in self.layers)  # type: ignore[arg-type]
            return x.new_zeros((*x.shape[:-1], width))
        outputs = [layer(x) for layer in self.layers]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)

    def dense(self) -> torch.Tensor:
        """Return the weight as the model stores it: [out, in], or [in, out] if it is turned."""
        weights = [_dense(layer) for layer in self.layers]
        whole = weights[0] if len(weights) == 1 else torch.cat(weights, 0)
        return whole.T if self.turned else whole

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the layers for a product with the weight; compute any other function from the dense weight."""
        extra = dict(kwargs or {})
        if len(args) >= 2 and isinstance(args[1], ExpertWeight) and isinstance(args[0], torch.Tensor):
            x, weight = args[:2]
            bias = args[2] if len(args) > 2 else extra.get("bias")
            if function is nn.functional.linear and not weight.turned:
                y = weight.apply(x)
                return y if bias is None else y + bias
            if function.__name__ in ("matmul", "__matmul__", "mm") and weight.turned:
                return weight.apply(x)
        dense = [part.dense() if isinstance(part, ExpertWeight) else part for part in args]
        return function(*dense, **{k: v.dense() if isinstance(v, ExpertWeight) else v for k, v in extra.items()})

    def __matmul__(self, other: torch.Tensor) -> torch.Tensor:
        """Return the product with a tensor on the right."""
        return self.dense() @ other

    @property
    def T(self) -> "ExpertWeight":
        """The transposed weight."""
        return ExpertWeight(self.layers, not self.turned)

    def t(self) -> "ExpertWeight":
        """Return the transposed weight."""
        return self.T

    def transpose(self, *_: int) -> "ExpertWeight":
        """Return the transposed weight."""
        return self.T

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the dense weight."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dense(), name)


class ExpertStack:
    """The weights of all experts of a layer, in place of the stacked parameter [experts, ., .]."""

    def __init__(self, weights: list[ExpertWeight], shape: torch.Size, dtype: torch.dtype) -> None:
        self.weights, self.shape, self.dtype = weights, shape, dtype
        self.ndim = 3

    @property
    def device(self) -> torch.device:
        """The device of the first expert."""
        return next(self.weights[0].layers[0].parameters()).device

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self.weights)

    def __getitem__(self, index: Any) -> Any:
        """Return the weight of one expert, or the dense weights of several."""
        if isinstance(index, int) or (isinstance(index, torch.Tensor) and index.ndim == 0):
            return self.weights[int(index)]
        return self.dense()[index]

    def dense(self) -> torch.Tensor:
        """Return all weights as one tensor."""
        return torch.stack([weight.dense() for weight in self.weights])

    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        """Return the batched product of x [experts, tokens, in] with the weight of each expert.

        Tokens that are zero throughout are left out: they were not sent to the expert, and their product is zero.
        """
        if not self.weights[0].turned:
            return torch.bmm(x, self.dense())
        parts: list[torch.Tensor] = []
        for weight, rows in zip(self.weights, x, strict=True):
            sent = rows.detach().abs().amax(-1) > 0
            width = sum(int(layer.out_features) for layer in weight.layers)  # type: ignore[arg-type]
            y = rows.new_zeros((len(rows), width))
            parts.append(y.index_put((sent.nonzero()[:, 0],), weight.apply(rows[sent])) if bool(sent.any()) else y)
        return torch.stack(parts)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the experts' layers for a batched product; compute any other function from the dense weights."""
        names = ("bmm", "matmul", "__matmul__")
        batched = function.__name__ in names and isinstance(args[1], ExpertStack)
        if batched and isinstance(args[0], torch.Tensor) and args[0].ndim == 3 and len(args[0]) == len(args[1]):
            return args[1].multiply(args[0])
        dense = [part.dense() if isinstance(part, ExpertStack) else part for part in args]
        extra = {k: v.dense() if isinstance(v, ExpertStack) else v for k, v in (kwargs or {}).items()}
        return function(*dense, **extra)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the dense weights."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dense(), name)


def expert_places(names: TensorNames, layers: Iterable[str]) -> list[ExpertPlace]:
    """Return the places of the layers that lie in stacked parameters of the model; other layers are left out.

    Args:
        names: the rules of the model.
        layers: names of linear layers, as in the checkpoint.

    Raises:
        CheckpointError: Transformers does something else with the matrices of the experts than to stack them.
    """
    found: list[ExpertPlace] = []
    for name in layers:
        match = _NUMBERED.match(name)
        if match is None:
            continue
        base = f"{match[1]}.{match[3]}"
        stacked = [names.target(f"{base}.weight"), names.target(base)]
        whole = next((t for t in stacked if t is not None and t.converter is None and _is_stack(names, t)), None)
        target = names.target(f"{name}.weight")
        if target is not None and target.converter is not None and _is_stack(names, target):
            kinds = [type(step).__name__ for step in target.converter.operations]
            if kinds not in (["MergeModulelist"], ["MergeModulelist", "Concatenate"]):
                raise CheckpointError(
                    f"the experts of the model must be stacked by transformers, but {name} is changed by "
                    f"{' and '.join(kinds)}; leave the experts in full precision (--exclude experts)"
                )
            single = len(target.converter.source_patterns) == 1
            numbers = re.findall(r"\.(\d+)(?=\.)", name)
            found.append(ExpertPlace(name, target.key, int(numbers[-1]), target.position, names.path(name), single))
        elif whole is not None:
            found.append(ExpertPlace(name, whole.key, int(match[2]), 0, names.path(name), True))
    return found


def _is_stack(names: TensorNames, target: Target) -> bool:
    return len(names.shapes[target.key]) == 3


def unstack(model: Any, places: Iterable[ExpertPlace], make: Callable[[ExpertPlace, torch.Tensor], nn.Module]) -> None:
    """Replace every stacked parameter of the places by linear layers of its experts, at the paths of the places.

    Args:
        model: a model of transformers; it is changed.
        places: the places of the experts' layers.
        make: returns the module of a place from the expert's slice of the parameter, as the model stores it.

    Raises:
        CheckpointError: An expert has no layer.
    """
    stacks: dict[str, dict[int, list[ExpertPlace]]] = {}
    for place in places:
        stacks.setdefault(place.key, {}).setdefault(place.expert, []).append(place)
    for key, experts in stacks.items():
        parameter = parameter_at(model, key)
        owner, _, attribute = key.rpartition(".")
        holder = model.get_submodule(owner)
        weights: list[ExpertWeight] = []
        turned = bool(getattr(holder, "is_transposed", False)) or type(holder).__name__ == "Llama4TextExperts"
        for expert in range(max(experts) + 1):
            if expert not in experts:
                raise CheckpointError(f"the model must have a layer of expert {expert} for {key}, but has none")
            layers = [(p, make(p, parameter[expert])) for p in sorted(experts[expert], key=lambda p: p.position)]
            for place, layer in layers:
                _attach(model, place.path, layer)
            weights.append(ExpertWeight([layer for _, layer in layers], turned))
        del holder._parameters[attribute]
        object.__setattr__(holder, attribute, ExpertStack(weights, parameter.shape, parameter.dtype))
        holder._is_hf_initialized = True  # transformers must not fill what it takes for a missing parameter
        config = getattr(holder, "config", None)
        if config is not None and hasattr(config, "_experts_implementation"):
            config._experts_implementation = "eager"  # the other ways multiply by the whole stack


def name_layers(model: Any, names: TensorNames, layers: Iterable[str]) -> None:
    """Note on the model under which path each layer of the checkpoint stands, where the two names differ."""
    known: dict[str, str] = dict(getattr(model, NAMES, {}))
    for name in layers:
        path = names.path(name)
        if path != name:
            known[name] = path
    object.__setattr__(model, NAMES, known)


def plain_layers(sizes: Mapping[str, tuple[int, int, bool]]) -> Callable[[ExpertPlace, torch.Tensor], nn.Module]:
    """Return a function for `unstack` that makes ordinary linear layers, whose weights are views of the parameter.

    Args:
        sizes: out_features, in_features, and whether the stack is stored as [experts, in, out], by layer.
    """
    first: dict[tuple[str, int], int] = {}

    def make(place: ExpertPlace, part: torch.Tensor) -> nn.Module:
        rows, columns, turned = sizes[place.name]
        begin = first.get((place.key, place.expert), 0)
        first[place.key, place.expert] = begin + rows
        linear = nn.Linear(1, 1, bias=False, device="meta")
        linear.in_features, linear.out_features = columns, rows
        weight = (part.T if turned else part)[begin : begin + rows]
        linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
        return linear

    return make


def layer_sizes(layers: Iterable[LinearLayer]) -> dict[str, tuple[int, int, bool]]:
    """Return the sizes of layers as `plain_layers` takes them."""
    return {x.name: (x.out_features, x.in_features, x.slice is not None and x.transposed) for x in layers}


def unstack_checkpoint(model: Any, layers: Sequence[LinearLayer]) -> dict[str, str]:
    """Give the model's experts linear layers of their own and note the paths of all layers.

    Args:
        model: a model of transformers, with or without weights; it is changed.
        layers: all linear layers of the checkpoint, those that are not quantized included.

    Returns:
        {path of an expert's layer in the model: name of the layer}.
    """
    names = TensorNames(model)
    places = expert_places(names, [layer.name for layer in layers if layer.expert is not None])
    unstack(model, places, plain_layers(layer_sizes(layers)))
    name_layers(model, names, [layer.name for layer in layers])
    return {place.path: place.name for place in places}


def _attach(model: nn.Module, path: str, layer: nn.Module) -> None:
    """Put a module at a path, and make the modules on the way that are not there yet."""
    at = model
    *owners, last = path.split(".")
    for name in owners:
        if name not in at._modules:
            at.add_module(name, nn.Module())
        at = at.get_submodule(name)
    at.add_module(last, layer)


def _dense(layer: nn.Module) -> torch.Tensor:
    dequantize = getattr(layer, "dequantize", None)
    return dequantize(layer.weight.dtype) if callable(dequantize) else layer.weight  # type: ignore
