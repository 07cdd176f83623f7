"""Replace weights of linear layers of a loaded model within a `with` block, and restore them after it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from haloquant.errors import CheckpointError


def find_module(model: torch.nn.Module, layer: str) -> torch.nn.Module:
    """Return the module that a checkpoint calls `layer`.

    The names in the model and in the checkpoint may differ by a prefix such as `model.` or `transformer.`. Other
    differences are noted on the model (`lm.experts.name_layers`).

    Raises:
        CheckpointError: No module, or more than one, has that name.
    """
    with suppress(AttributeError):
        names: dict[str, str] = vars(model).get("halo_names", {})
        return model.get_submodule(names.get(layer, layer))
    modules = dict(model.named_modules())
    fits = [name for name in modules if name.endswith("." + layer)]
    fits = fits or [name for name in modules if name and layer.endswith("." + name) and name.count(".") > 1]
    if len(fits) != 1:
        raise CheckpointError(f"the model must have one module named {layer}, not {len(fits)}")
    return modules[fits[0]]


# Subclasses of torch's linear layer whose own `forward` computes y = x W^T + b, too.
_SAME_PRODUCT = frozenset({("transformers.models.falcon.modeling_falcon", "FalconLinear")})


def is_linear(module: torch.nn.Module) -> bool:
    """Return whether a module computes y = x W^T + b, which a packed layer computes in its place.

    Subclasses of torch's linear layer that compute something else, such as a product in groups, are not linear layers.
    """
    kind = type(module)
    if not isinstance(module, torch.nn.Linear):
        return is_transposed(module)
    return kind.forward is torch.nn.Linear.forward or (kind.__module__, kind.__name__) in _SAME_PRODUCT


def is_transposed(module: torch.nn.Module) -> bool:
    """Return whether the module stores its weight as [in, out], as the Conv1D of GPT-2 does."""
    return type(module).__name__ == "Conv1D"


def weight_parameter(model: torch.nn.Module, layer: str) -> tuple[torch.Tensor, bool]:
    """Return the parameter that holds the weight of `layer`, and whether it is stored as [in, out].

    Raises:
        CheckpointError: No single module has that name, or it is not a linear layer.
    """
    module = find_module(model, layer)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        raise CheckpointError(f"the layer {layer} must be a linear layer, not {type(module).__name__}")
    return weight, is_transposed(module)


def get_weight(model: torch.nn.Module, layer: str) -> Float32[np.ndarray, "out in"]:
    """Return a copy of the weight of `layer`, [out, in]."""
    weight, transposed = weight_parameter(model, layer)
    array = weight.detach().to(torch.float32).cpu().numpy()
    return np.array(array.T if transposed else array, order="C")


def set_weight(model: torch.nn.Module, layer: str, weight: Float32[np.ndarray, "out in"]) -> None:
    """Replace the weight of `layer` by another of the same shape, [out, in]."""
    _copy_into(*weight_parameter(model, layer), weight)


class LayerWeights(Mapping[str, np.ndarray]):
    """Weights [out, in] by layer, each of which is read when it is asked for, so that one is in memory at a time."""

    def __init__(self, readers: Mapping[str, Callable[[], np.ndarray]]) -> None:
        self._readers = readers

    def __getitem__(self, layer: str) -> np.ndarray:
        return self._readers[layer]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


@contextmanager
def with_weights(
    model: Any,
    weights: Mapping[str, Float32[np.ndarray, "_ _"]],
    originals: Mapping[str, Float32[np.ndarray, "_ _"]] | None = None,
) -> Iterator[Any]:
    """Within the block, the model computes with `weights` ({layer: [out, in]}); after it, with its own again.

    Args:
        model: a loaded model.
        weights: the weights by layer; each is read once.
        originals: the model's own weights by layer, to put them back; None keeps a copy of them in memory meanwhile.

    Raises:
        CheckpointError: A layer is not in the model, is shared with another module, or has another shape.
    """
    targets = {layer: weight_parameter(model, layer) for layer in weights}
    owners = _owners(model)
    for layer, (target, _) in targets.items():
        shared = [name for name in owners.get(target.data_ptr(), ()) if not _is_linear_weight(model, name)]
        if shared:
            raise CheckpointError(
                f"the weight of {layer} must be its own, but it is shared: {', '.join(owners[target.data_ptr()])}; "
                "leave this layer in full precision"
            )
    changed: list[str] = []
    kept: dict[str, torch.Tensor] = {}
    try:
        for layer, (target, transposed) in targets.items():
            weight = weights[layer]
            wanted = tuple(target.shape[::-1] if transposed else target.shape)
            if weight.shape != wanted:
                raise CheckpointError(f"the weight of {layer} must be {list(wanted)}, not {list(weight.shape)}")
            changed.append(layer)
            if originals is None:
                kept[layer] = target.detach().clone()
            _copy_into(target, transposed, weight)
        yield model
    finally:
        for layer in changed:
            target, transposed = targets[layer]
            if originals is None:
                with torch.no_grad():
                    target.copy_(kept[layer])
            else:
                _copy_into(target, transposed, originals[layer])


def _copy_into(target: torch.Tensor, transposed: bool, weight: np.ndarray) -> None:
    array = np.ascontiguousarray(weight.T if transposed else weight)
    with torch.no_grad():
        target.copy_(torch.from_numpy(array))


def _is_linear_weight(model: torch.nn.Module, name: str) -> bool:
    """Return whether a parameter is the weight of a linear layer. Some families tie the layers of several blocks."""
    owner, _, leaf = name.rpartition(".")
    return leaf == "weight" and is_linear(model.get_submodule(owner))


def _owners(model: torch.nn.Module) -> dict[int, list[str]]:
    """Return the names of the parameters by the address of their memory; shared memory has more than one name."""
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(parameter.data_ptr(), []).append(name)
    return owners
