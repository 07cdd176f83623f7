"""Find the linear layers of a checkpoint, put them in order of execution, and select them by patterns."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.architectures import Architecture, Place, place_linear
from haloquant.lm.checkpoint.safetensors import StoredTensor
from haloquant.records.layer_names import HEADS

_MODULE = re.compile(r"[A-Za-z0-9_.\-]{1,200}")


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """One linear layer y = W x + b. `name` is the module's name in the checkpoint; W is [out_features, in_features].

    `group` numbers the dependency groups in order of execution: layers of one group read the same input.
    """

    name: str
    tensor: str
    out_features: int
    in_features: int
    group: int
    block: int | None  # None: outside the decoder blocks (the language-model head)
    transposed: bool = False  # stored [in, out]
    expert: int | None = None
    slice: int | None = None  # index into a 3-D tensor of experts [experts, out, in]
    bias: str | None = None

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.out_features * self.in_features


def find_layers(
    folder: Path,
    architecture: Architecture,
    tensors: Mapping[str, StoredTensor],
    shared: Mapping[str, str],
    include: Sequence[str],
    exclude: Sequence[str],
) -> tuple[LinearLayer, ...]:
    """Return the linear layers to quantize, in order of execution, with their dependency groups.

    Args:
        folder: the model folder, for error sentences.
        architecture: its configuration.
        tensors: its tensors by name.
        shared: names of tensors that share the bytes of another tensor, to the name of that one.
        include: regular expressions of module names to select; every layer of the decoder blocks where empty.
        exclude: regular expressions of module names to leave out.

    Raises:
        CheckpointError: no tensor looks like a layer of a decoder block, or the patterns leave none.
    """
    layers = _number_groups(_find_in_blocks(folder, architecture, tensors, shared))
    head = _find_head(architecture, tensors, shared, layers)
    return _choose(folder, (*layers, *head), include, exclude)


def _find_in_blocks(
    folder: Path, architecture: Architecture, tensors: Mapping[str, StoredTensor], shared: Mapping[str, str]
) -> list[tuple[Place, LinearLayer]]:
    found: list[tuple[Place, LinearLayer]] = []
    for name, tensor in tensors.items():
        if name in shared or len(tensor.shape) not in (2, 3) or 0 in tensor.shape:
            continue
        module = name.removesuffix(".weight")
        experts = len(tensor.shape) == 3
        place = place_linear(module, architecture.model_type)
        if place is None or (module == name and not experts):
            continue
        if not _MODULE.fullmatch(module):
            raise CheckpointError(
                f"{folder}: a layer's name must be up to 200 letters, digits, '_', '-' and '.', as files are named "
                f"after it, not {module!r:.80}"
            )
        bias = f"{module}.bias" if f"{module}.bias" in tensors and not experts else None
        rows, cols = tensor.shape[-2:]
        out_features, in_features = (cols, rows) if architecture.transposed else (rows, cols)
        for index in range(tensor.shape[0]) if experts else (None,):
            layer = LinearLayer(
                name=module if index is None else f"{module}.{index}",
                tensor=name,
                out_features=out_features,
                in_features=in_features,
                group=0,
                block=place.block,
                transposed=architecture.transposed,
                expert=place.expert if index is None else index,
                slice=index,
                bias=bias,
            )
            found.append((place, layer))
    if not found:
        kind = architecture.model_type or "no model_type"
        raise CheckpointError(
            f"{folder} ({kind}) must be a decoder with numbered blocks of linear layers "
            "(names like model.layers.0.self_attn.q_proj.weight), but no tensor looks like one"
        )
    return found


def _number_groups(found: list[tuple[Place, LinearLayer]]) -> tuple[LinearLayer, ...]:
    def order(item: tuple[Place, LinearLayer]) -> tuple[int, int, int, int]:
        place, layer = item
        return place.block, place.role, -1 if layer.expert is None else layer.expert, _position(layer.name)

    numbers: dict[tuple[int, int], int] = {}
    layers: list[LinearLayer] = []
    for place, layer in sorted(found, key=order):
        group = numbers.setdefault((place.block, place.role), len(numbers))
        layers.append(replace(layer, group=group))
    return tuple(layers)


def _position(name: str) -> int:
    """Return the customary position of a layer in its group: q before k before v, gate before up."""
    leaf = name.rsplit(".", 1)[-1]
    names = (
        "q_proj", "wq", "query", "k_proj", "wk", "key", "v_proj", "wv", "value", "gate_proj", "w1", "up_proj", "w3",
    )  # fmt: skip
    return names.index(leaf) if leaf in names else len(names)


def _find_head(
    architecture: Architecture,
    tensors: Mapping[str, StoredTensor],
    shared: Mapping[str, str],
    layers: Sequence[LinearLayer],
) -> tuple[LinearLayer, ...]:
    """Return the language-model head if it is a tensor of its own."""
    for module in HEADS:
        tensor = tensors.get(f"{module}.weight")
        if tensor is None or tensor.name in shared or len(tensor.shape) != 2 or architecture.tied_embeddings:
            continue
        bias = f"{module}.bias" if f"{module}.bias" in tensors else None
        group = layers[-1].group + 1
        return (LinearLayer(module, tensor.name, tensor.shape[0], tensor.shape[1], group, None, bias=bias),)
    return ()


def _choose(
    folder: Path, layers: Sequence[LinearLayer], include: Sequence[str], exclude: Sequence[str]
) -> tuple[LinearLayer, ...]:
    wanted, unwanted = _compile(include), _compile(exclude)
    chosen = tuple(
        layer
        for layer in layers
        if (any(p.search(layer.name) for p in wanted) if wanted else layer.block is not None)
        and not any(p.search(layer.name) for p in unwanted)
    )
    if not chosen:
        raise CheckpointError(
            f"the layer patterns must leave at least one of the {len(layers)} linear layers of {folder}, "
            f"but include {list(include)} and exclude {list(exclude)} leave none"
        )
    return chosen


def _compile(patterns: Sequence[str]) -> list[re.Pattern[str]]:
    compiled: list[re.Pattern[str]] = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise CheckpointError(f"a layer pattern must be a regular expression, not {pattern!r}: {error}") from error
    return compiled
