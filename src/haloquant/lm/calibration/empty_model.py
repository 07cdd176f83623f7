"""A model of transformers without weights, parts of which can be loaded from the checkpoint within a `with` block."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM

from haloquant.errors import CheckpointError, first_line
from haloquant.lm.checkpoint.reader import Checkpoint, read_tensor
from haloquant.lm.swap_weights import find_module
from haloquant.records.layer_names import HEADS

_BLOCK_NAME = re.compile(r"^(?:.*?\.)?(?:layers|h|blocks|block|layer)\.\d+(?=\.)")
_HEAD_WEIGHTS = tuple(f"{name}.weight" for name in HEADS)


class EmptyModel:
    """The model of a checkpoint on torch's meta device, so that its parameters take no memory until they are filled.

    `blocks` are its decoder blocks in order. `parameters_of(block)` and `outside_blocks()` return names for `filled`.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.model = _build(checkpoint)
        self._empty = dict(self.model.named_parameters(remove_duplicate=False))
        self._tensors = self._find_tensors()
        prefixes = dict.fromkeys(m[0] for layer in checkpoint.layers if (m := _BLOCK_NAME.match(layer.name)))
        first = find_module(self.model, next(iter(prefixes)))
        siblings = next(m for m in self.model.modules() if isinstance(m, torch.nn.ModuleList) and first in list(m))
        self.blocks: list[torch.nn.Module] = list(siblings)

    def parameters_of(self, module: torch.nn.Module) -> list[str]:
        """Return the full names of the parameters within `module`."""
        inside = {id(p) for p in module.parameters()}
        return [name for name, p in self._empty.items() if id(p) in inside]

    def outside_blocks(self, with_head: bool) -> list[str]:
        """Return the names of the parameters outside the blocks, with or without those of the language-model head."""
        inside = {id(p) for block in self.blocks for p in block.parameters()}
        head = self.model.get_output_embeddings()
        if head is not None and not with_head:
            inside |= {id(p) for p in head.parameters()} - {id(p) for p in self._inputs().parameters()}
        return [name for name, p in self._empty.items() if id(p) not in inside]

    @contextmanager
    def filled(self, names: Iterable[str]) -> Iterator[None]:
        """Within the `with` block, the named parameters have their values from the checkpoint, in float32.

        Raises:
            CheckpointError: the checkpoint lacks a parameter, or holds it in another shape.
        """
        names = list(names)
        values: dict[str, torch.nn.Parameter] = {}
        try:
            for name in names:
                tensor = self._tensors.get(name)
                if tensor is None:
                    raise CheckpointError(
                        f"{self.checkpoint.folder} must hold {name} under that name to be run block by block, "
                        "but does not; load the model whole instead"
                    )
                if tensor not in values:
                    values[tensor] = torch.nn.Parameter(self._read(tensor, self._empty[name]), requires_grad=False)
                self._set(name, values[tensor])
            yield
        finally:
            for name in names:
                self._set(name, self._empty[name])

    def _read(self, tensor: str, empty: torch.Tensor) -> torch.Tensor:
        array = read_tensor(self.checkpoint, tensor)
        if array.shape != tuple(empty.shape):
            raise CheckpointError(
                f"{self.checkpoint.folder}: tensor {tensor} must be {list(empty.shape)}, not {list(array.shape)}"
            )
        return torch.from_numpy(array)

    def _set(self, name: str, value: torch.nn.Parameter) -> None:
        owner, _, attribute = name.rpartition(".")
        setattr(self.model.get_submodule(owner), attribute, value)

    def _inputs(self) -> torch.nn.Module:
        return self.model.get_input_embeddings()

    def _find_tensors(self) -> dict[str, str]:
        """Map parameter names to tensor names. They differ by the prefix of the inner model, and for a tied head."""
        prefix = f"{self.model.base_model_prefix}."
        held = self.checkpoint.tensors
        found: dict[str, str] = {}
        for name in self._empty:
            for candidate in (name, name.removeprefix(prefix), prefix + name):
                if candidate in held:
                    found[name] = candidate
                    break
        head = self.model.get_output_embeddings()
        if head is not None:
            by_module = {id(module): name for name, module in self.model.named_modules()}
            source = f"{by_module[id(self._inputs())]}.weight"
            tied = self.checkpoint.architecture.tied_embeddings and source in found
            others = [name for name in _HEAD_WEIGHTS if name in held]  # the module may have another name
            if tied or others:
                found.setdefault(f"{by_module[id(head)]}.weight", found[source] if tied else others[0])
        return found


def _build(checkpoint: Checkpoint) -> Any:
    try:
        config = AutoConfig.from_pretrained(checkpoint.small_files(), local_files_only=True, trust_remote_code=False)
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{checkpoint.folder} must be a causal model of transformers, but: {first_line(error)}"
        ) from error
    return model.eval().requires_grad_(False)
