"""A model of transformers without weights, parts of which can be loaded from the checkpoint within a `with` block."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights
from transformers import AutoConfig

from haloquant.errors import CheckpointError
from haloquant.kernels.device_copies import moved, to_device
from haloquant.lm.checkpoint.architectures import is_foreign
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer, read_layer, read_tensor
from haloquant.lm.checkpoint.safetensors import StoredTensor, check_readable, read_float32
from haloquant.lm.experts import unstack_checkpoint
from haloquant.lm.export.model_folder import NAMES, RawTensor
from haloquant.lm.model_class import building, class_of, leave_weights
from haloquant.lm.swap_weights import find_module
from haloquant.lm.tensor_names import TensorNames
from haloquant.records.layer_names import HEADS

_CPU = torch.device("cpu")
_HEAD_WEIGHTS = tuple(f"{name}.weight" for name in HEADS)


@dataclass(frozen=True)
class _Rule:
    """A rule of transformers that makes parameters from several tensors, and its tensors with their patterns.

    `key` is the first parameter that it makes.
    """

    key: str
    converter: Any
    tensors: tuple[tuple[str, str], ...]


class EmptyModel:
    """The model of a checkpoint on torch's meta device, so that its parameters take no memory until they are filled.

    `blocks` are its decoder blocks in order. `parameters_of(block)` and `outside_blocks()` return names for `filled`.
    Experts are linear layers of their own (`lm.experts`).
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.model = build_empty(checkpoint)
        layers = (*checkpoint.layers, *checkpoint.unchosen)
        self._names = names = TensorNames(self.model)
        experts = unstack_checkpoint(self.model, layers)
        by_name = {layer.name: layer for layer in layers}
        self._experts = {f"{path}.weight": by_name[name] for path, name in experts.items()}
        self._empty = dict(self.model.named_parameters(remove_duplicate=False))
        self._rules: dict[str, _Rule] = {}
        self._tensors = self._find_tensors(names)
        self._load_buffers(names)
        self.blocks: list[torch.nn.Module] = decoder_blocks(self.model, [x.name for x in layers if x.block is not None])

    def parameters_of(self, module: torch.nn.Module) -> list[str]:
        """Return the full names of the parameters within `module`."""
        inside = {id(p) for p in module.parameters()}
        return [name for name, p in self._empty.items() if id(p) in inside]

    def lacking(self) -> list[str]:
        """Return the parameters that the checkpoint gives no value for."""
        return [name for name in self._empty if name not in self._tensors]

    def changed_by(self, layer: LinearLayer) -> str:
        """Return how transformers changes the tensor of a layer while it loads it; nothing where it does not."""
        target = self._names.target(layer.tensor)
        steps = [] if target is None or target.converter is None else target.converter.operations
        return " and ".join(type(step).__name__ for step in steps)

    def check_shapes(self) -> None:
        """Refuse a checkpoint with a tensor of another shape than its parameter. No weight is read.

        Raises:
            CheckpointError: The configuration is of a model of other sizes.
        """
        for name, tensor in self._tensors.items():
            if name in self._experts:
                layer = self._experts[name]
                self._check_shape(tensor, name, (layer.out_features, layer.in_features))
            elif name not in self._rules:
                self._check_shape(tensor, name, self.checkpoint.tensors[tensor].shape)

    def _check_shape(self, tensor: str, name: str, shape: tuple[int, ...]) -> None:
        wanted = self._empty[name].shape
        if tuple(shape) != tuple(wanted):
            raise CheckpointError(
                f"{self.checkpoint.folder}: tensor {tensor} must be {list(wanted)}, not {list(shape)}"
            )

    def outside_blocks(self, with_head: bool) -> list[str]:
        """Return the names of the parameters outside the blocks, with or without those of the language-model head."""
        inside = {id(p) for block in self.blocks for p in block.parameters()}
        head = self.model.get_output_embeddings()
        if head is not None and not with_head:
            inside |= {id(p) for p in head.parameters()} - {id(p) for p in self._inputs().parameters()}
        return [name for name, p in self._empty.items() if id(p) not in inside]

    @contextmanager
    def filled(self, names: Iterable[str], device: torch.device = _CPU) -> Iterator[None]:
        """Within the `with` block, the named parameters have their values from the checkpoint, in float32.

        Args:
            names: full names of parameters.
            device: where the values are.

        Raises:
            CheckpointError: The checkpoint lacks a parameter, or holds it in another shape.
        """
        names = list(names)
        values: dict[str, torch.nn.Parameter] = {}
        try:
            for name in names:
                tensor = self._tensors.get(name)
                if tensor is None:
                    raise CheckpointError(
                        f"{self.checkpoint.folder} must hold {name}, or tensors that transformers makes it from, but "
                        "does not; download the missing shard"
                    )
                if tensor not in values:
                    values[tensor] = torch.nn.Parameter(self._read(tensor, name, device), requires_grad=False)
                self._set(name, values[tensor])
            yield
        finally:
            for name in names:
                self._set(name, self._empty[name])

    def _read(self, tensor: str, name: str, device: torch.device) -> torch.Tensor:
        """Return the value of the parameter `name`, whose source is `tensor` (see `_find_tensors`)."""
        if name in self._experts:
            layer = self._experts[name]
            value = torch.from_numpy(np.array(read_layer(self.checkpoint.tensors[layer.tensor], layer)))
        elif name in self._rules:
            value = self._convert(name)
        else:
            stored = self.checkpoint.tensors[tensor]
            halves = None if device.type == "cpu" else read_bfloat16(stored, device)
            value = _tensor_of(stored) if halves is None else halves
        self._check_shape(tensor, name, tuple(value.shape))
        return moved(value, device)

    def _convert(self, name: str) -> torch.Tensor:
        rule = self._rules[name]
        converter = deepcopy(rule.converter)
        for tensor, pattern in rule.tensors:
            converter.add_tensor(rule.key, tensor, pattern, torch.from_numpy(read_tensor(self.checkpoint, tensor)))
        return _made(converter, self.model, rule.key)[name].float().contiguous()

    def _set(self, name: str, value: torch.nn.Parameter) -> None:
        owner, _, attribute = name.rpartition(".")
        setattr(self.model.get_submodule(owner), attribute, value)

    def _inputs(self) -> torch.nn.Module:
        return self.model.get_input_embeddings()

    def _find_tensors(self, names: TensorNames) -> dict[str, str]:
        """Map parameter names to their sources: a tensor, an expert's layer, or the first tensor of a rule."""
        held = self.checkpoint.tensors
        found = {name: layer.name for name, layer in self._experts.items()}
        grouped: dict[str, list[tuple[str, str]]] = {}
        converters: dict[str, Any] = {}
        for tensor in held:
            target = names.target(tensor)
            if target is None:
                continue
            if target.converter is None:
                if target.key in self._empty:
                    found[target.key] = tensor
                continue
            grouped.setdefault(target.key, []).append((tensor, str(target.pattern)))
            converters[target.key] = target.converter
        for key, tensors in grouped.items():
            if key not in self._empty:
                continue  # a stack of experts, which are layers of their own now
            rule = _Rule(key, converters[key], tuple(tensors))
            trial = deepcopy(rule.converter)
            for tensor, pattern in tensors:
                trial.add_tensor(key, tensor, pattern, torch.empty(held[tensor].shape, device="meta"))
            for name in _made(trial, self.model, key):
                if name in self._empty:
                    self._rules[name], found[name] = rule, f"{name} of {tensors[0][0]}"
        self._tie(found)
        head = self.model.get_output_embeddings()
        if head is not None:
            by_module = {id(module): name for name, module in self.model.named_modules()}
            source = f"{by_module[id(self._inputs())]}.weight"
            tied = self.checkpoint.architecture.tied_embeddings and source in found
            others = [name for name in _HEAD_WEIGHTS if name in held]  # the module may have another name
            if tied or others:
                found.setdefault(f"{by_module[id(head)]}.weight", found[source] if tied else others[0])
        same = {id(self._empty[name]): tensor for name, tensor in found.items() if name in self._empty}
        for name, parameter in self._empty.items():  # modules that share a parameter
            if name not in found and id(parameter) in same:
                found[name] = same[id(parameter)]
        return found

    def _tie(self, found: dict[str, str]) -> None:
        """Give parameters without a tensor that of the parameter to which transformers ties them, in `found`.

        A checkpoint may hold either of the two.
        """
        ties = [pair for pair in self.model.all_tied_weights_keys.items() if all(name in self._empty for name in pair)]
        for target, source in (*ties, *((source, target) for target, source in ties), *ties):
            if target not in found and source in found and source not in self._rules:
                found[target] = found[source]

    def _load_buffers(self, names: TensorNames) -> None:
        """Read the buffers that the checkpoint holds, such as the bias of a router; the model keeps them.

        Those of towers for images and sound are not used.
        """
        buffers = dict(self.model.named_buffers())
        for tensor in (name for name in self.checkpoint.tensors if not is_foreign(name)):
            target = names.target(tensor)
            if target is not None and target.converter is None and target.key in buffers:
                stored, buffer = self.checkpoint.tensors[tensor], buffers[target.key]
                if stored.shape == tuple(buffer.shape):
                    buffer.copy_(_tensor_of(stored))


def build_empty(checkpoint: Checkpoint) -> Any:
    """Return the model of a checkpoint without weights.

    Raises:
        CheckpointError: Transformers cannot make it.
    """
    folder = checkpoint.small_files()
    with building(checkpoint.folder, folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return empty_from_config(config)


def empty_from_config(config: Any) -> Any:
    """Return a model without weights from a configuration of transformers."""
    with init_empty_weights(include_buffers=False):
        model = class_of(config).from_config(config, dtype=torch.float32, trust_remote_code=False)
    leave_weights(model.config)
    return model.eval().requires_grad_(False)


def decoder_blocks(model: torch.nn.Module, layers: Sequence[str]) -> list[torch.nn.Module]:
    """Return the decoder blocks: the outermost list of modules that holds the first of the layers that is found.

    Raises:
        CheckpointError: The model keeps no such list.
    """
    for name in layers:
        try:
            layer = find_module(model, name)
        except CheckpointError:
            continue
        for module in model.modules():
            if isinstance(module, torch.nn.ModuleList) and any(layer is inner for x in module for inner in x.modules()):
                return list(module)
    raise CheckpointError(
        f"the model ({type(model).__name__}) must keep its decoder blocks in a list of modules with linear layers such "
        f"as {layers[0]}, but does not; is config.json that of these tensors?"
    )


def _tensor_of(stored: StoredTensor) -> torch.Tensor:
    """Return a stored tensor: floating-point numbers in float32, others in their own type."""
    if stored.readable:
        return torch.from_numpy(read_float32(stored).reshape(stored.shape))
    if stored.dtype.startswith("F8"):  # numpy has no such type
        check_readable(stored)
    raw = RawTensor.read(stored)
    return torch.from_numpy(raw.data.view(NAMES[stored.dtype]).reshape(stored.shape))


def read_bfloat16(stored: StoredTensor, device: torch.device) -> torch.Tensor | None:
    """Return a tensor that is stored in bfloat16 as float32, converted on the device; None for any other.

    None is also returned for a tensor with NaN or infinity: `read_float32` says which value it is.

    Raises:
        CheckpointError: The file ends early.
    """
    if type(stored) is not StoredTensor or stored.dtype != "BF16" or not stored.count:
        return None
    bits = to_device(RawTensor.read(stored).data.view(np.int16), device)
    value = bits.view(torch.bfloat16).float().view(stored.shape)
    return value if bool(value.sum(dtype=torch.float64).isfinite()) else None


def _made(converter: Any, model: Any, key: str) -> dict[str, torch.Tensor]:
    """Return the parameters that a rule makes from the tensors that were added to it."""
    made = converter.convert(key, model=model, config=model.config)
    return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}
