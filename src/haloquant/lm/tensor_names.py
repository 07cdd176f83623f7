"""Which parameter of a model of transformers a tensor of its checkpoint is loaded into.

transformers renames tensors while it loads them, and puts several into one parameter (the matrices of all experts of a
layer). Its own rules are applied here, so that a layer of the checkpoint is found in the model under any name.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming


@dataclass(frozen=True)
class Target:
    """The parameter that a tensor is loaded into.

    `converter` is the rule that combines several tensors or changes one; None if the tensor is only renamed. `position`
    is the number of the tensor's pattern among those of the rule.
    """

    key: str
    converter: Any = None
    pattern: str | None = None

    @property
    def position(self) -> int:
        """Number of the tensor's pattern among those that the rule combines; 0 without a rule."""
        return 0 if self.converter is None else self.converter.source_patterns.index(self.pattern)


class TensorNames:
    """The rules of one model. They are taken from the model before any of its modules is replaced."""

    def __init__(self, model: Any) -> None:
        self._model = model
        rules = deepcopy(get_model_conversion_mapping(model))
        self._renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
        self._converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
        self._prefix = f"{model.base_model_prefix}." if model.base_model_prefix else ""
        self.shapes: dict[str, tuple[int, ...]] = {
            name: tuple(parameter.shape) for name, parameter in model.state_dict().items()
        }
        self._modules = {name for name, _ in model.named_modules()}

    def target(self, tensor: str) -> Target | None:
        """Return the parameter that a tensor of the checkpoint is loaded into; None if there is none."""
        renamed = self._rename(tensor)
        for converter in self._converters:
            key, pattern = converter.rename_source_key(renamed)
            if pattern is not None:
                found = self._with_prefix(key)
                if found is not None:
                    return Target(found, converter, pattern)
                break
        for name in (renamed, tensor):
            found = self._with_prefix(name)
            if found is not None:
                return Target(found)
        return None

    def path(self, module: str) -> str:
        """Return the path at which a module of the checkpoint stands, or would stand, in the model."""
        renamed = self._rename(f"{module}.weight").removesuffix(".weight")
        names = (renamed, module, self._prefix + renamed, renamed.removeprefix(self._prefix), self._prefix + module)
        return max(names, key=self._depth)

    def _rename(self, name: str) -> str:
        for rule in self._renamings:
            name, _ = rule.rename_source_key(name)
        return name

    def _with_prefix(self, key: str) -> str | None:
        for name in (key, self._prefix + key, key.removeprefix(self._prefix)):
            if name in self.shapes:
                return name
        return None

    def _depth(self, path: str) -> int:
        """Return how many parts of a path lead to modules that the model has."""
        parts = path.split(".")
        for count in range(len(parts), 0, -1):
            if ".".join(parts[:count]) in self._modules:
                return count
        return 0


def parameter_at(model: torch.nn.Module, key: str) -> torch.Tensor:
    """Return the parameter of a full name."""
    owner, _, attribute = key.rpartition(".")
    return getattr(model.get_submodule(owner), attribute)
