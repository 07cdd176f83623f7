"""Find the linear layers of a checkpoint, put them in order of execution, and select them by patterns."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.architectures import Architecture, Place, block_list, is_foreign, place_linear, split_block
from haloquant.lm.checkpoint.safetensors import StoredTensor
from haloquant.records.layer_names import BLOCK_LAYERS, CUSTOMARY_ORDER, HEADS

_MODULE = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
# Matrices that the code of a family multiplies itself; a packed layer has no such weight. DeepSeek V4 multiplies the
# heads of attention by this one group by group.
_READ_DIRECTLY = {"mamba": ("dt_proj",), "deepseek_v4": ("wo_a", "o_a_proj")}
# Families that store a stack of experts as [experts, in, out].
_TURNED_EXPERTS = frozenset({"gpt_oss", "llama4", "llama4_text", "aria", "aria_text"})


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


@dataclass(frozen=True)
class LayerChoice:
    """The linear layers of a model: those to quantize in order of execution, those left out, and what else is left.

    `unchosen` are layers of the decoder blocks and the head that the patterns leave out. `others` are the matrices that
    are no linear layers of a decoder block: routers, embeddings, towers for images, blocks behind the last.
    """

    chosen: tuple[LinearLayer, ...]
    unchosen: tuple[LinearLayer, ...]
    others: tuple[str, ...]


def find_layers(
    folder: Path,
    architecture: Architecture,
    tensors: Mapping[str, StoredTensor],
    shared: Mapping[str, str],
    include: Sequence[str],
    exclude: Sequence[str],
) -> LayerChoice:
    """Return the linear layers to quantize, in order of execution, with their dependency groups, and what is left.

    Args:
        folder: the model folder, for error sentences.
        architecture: its configuration.
        tensors: its tensors by name.
        shared: names of tensors that share the bytes of another tensor, to the name of that one.
        include: regular expressions of module names to select; every layer of the decoder blocks where empty.
        exclude: regular expressions of module names to leave out.

    Raises:
        CheckpointError: No tensor looks like a layer of a decoder block, the patterns leave none, or a pattern matches
            nothing.
    """
    found, others = _find_in_blocks(folder, architecture, tensors, shared)
    layers = _number_groups(found)
    head = _find_head(architecture, tensors, shared, layers)
    others = [name for name in others if name not in {layer.tensor for layer in head}]
    return _choose(folder, (*layers, *head), others, include, exclude)


def _find_in_blocks(
    folder: Path, architecture: Architecture, tensors: Mapping[str, StoredTensor], shared: Mapping[str, str]
) -> tuple[list[tuple[Place, LinearLayer]], list[str]]:
    found: list[tuple[Place, LinearLayer]] = []
    others: list[str] = []
    own = _own_blocks(architecture, tensors)
    for name, tensor in tensors.items():
        if name in shared or len(tensor.shape) not in (2, 3) or 0 in tensor.shape:
            continue
        module = name.removesuffix(".weight")
        experts = len(tensor.shape) == 3
        place = place_linear(module, architecture.model_type) if block_list(name) == own else None
        if (experts and not _holds_experts(module)) or is_read_directly(architecture.model_type, module):
            place = None
        if place is not None and architecture.blocks and place.block >= architecture.blocks:
            place = None  # blocks behind the last draft further tokens; transformers does not load them
        if place is None or (module == name and not experts):
            raw_experts = _holds_experts(module) and not module.endswith("bias")  # of DBRX, which are no modules
            if name.endswith(".weight") or raw_experts:
                others.append(name)
            continue
        if not _MODULE.fullmatch(module):
            raise CheckpointError(
                f"{folder}: a layer's name must be up to 200 letters, digits, '_', '-' and '.', as files are named "
                f"after it, not {module!r:.80}"
            )
        bias = f"{module}.bias" if f"{module}.bias" in tensors and not experts else None
        turned = _is_turned(architecture, module, tensor) if experts else architecture.transposed
        rows, cols = tensor.shape[-2:]
        out_features, in_features = (cols, rows) if turned else (rows, cols)
        for index in range(tensor.shape[0]) if experts else (None,):
            layer = LinearLayer(
                name=module if index is None else expert_name(module, index),
                tensor=name,
                out_features=out_features,
                in_features=in_features,
                group=0,
                block=place.block,
                transposed=turned,
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
    return found, others


def is_read_directly(model_type: str, module: str) -> bool:
    """Return whether the code of a family multiplies by the weight of a linear layer itself, without a call of it."""
    return module.rpartition(".")[2] in _READ_DIRECTLY.get(model_type, ())


def expert_name(module: str, index: int) -> str:
    """Return the name of one expert's layer in a stacked tensor: the number stands before the last part.

    Expert 3 of `mlp.experts.gate_up_proj` is `mlp.experts.3.gate_up_proj`, as in a checkpoint with a tensor per expert.
    """
    owner, _, leaf = module.rpartition(".")
    return f"{owner}.{index}.{leaf}"


def expert_family(name: str) -> str | None:
    """Return what the layers of a layer's experts have in common: the name with `*` for the expert's number.

    None for a layer that is not numbered within its block.
    """
    placed = split_block(name)
    match = None if placed is None else re.fullmatch(r"((?:.*\.)?)(\d+)\.([^.]+)", placed[1])
    return None if placed is None or match is None else f"{name.removesuffix(placed[1])}{match[1]}*.{match[3]}"


def _holds_experts(module: str) -> bool:
    """Return whether a 3-D tensor of this name stacks the matrices of experts."""
    return "expert" in module or "moe" in module or module.endswith(("input_linear", "output_linear"))


def _is_turned(architecture: Architecture, module: str, tensor: StoredTensor) -> bool:
    """Return whether a stack of experts is stored as [experts, in, out]."""
    if architecture.model_type in _TURNED_EXPERTS:
        return True
    hidden, (rows, cols) = architecture.hidden_size, tensor.shape[-2:]
    down = re.search(r"down|fc2|output_linear|w2", module.rpartition(".")[2]) is not None
    outside, inside = (rows, cols) if down else (cols, rows)  # where [experts, out, in] has the hidden size
    return outside != hidden and inside == hidden and hidden > 0


def _own_blocks(architecture: Architecture, tensors: Mapping[str, StoredTensor]) -> str | None:
    """Return the name of the decoder's list of blocks. Of several, it is the one whose matrices are largest together.

    Lists that belong to towers for images and sound or that draft further tokens do not count. In a family whose layers
    are known, lists without such a layer do not count either.
    """
    sizes: dict[str, int] = {}
    roles = BLOCK_LAYERS[architecture.model_type].roles if architecture.known else ()
    known = {name for names in roles for name in names}
    listed: set[str | None] = set()
    for name, tensor in tensors.items():
        blocks = block_list(name)
        if blocks is not None and len(tensor.shape) in (2, 3):
            sizes[blocks] = sizes.get(blocks, 0) + math.prod(tensor.shape)
            if (placed := split_block(name)) is not None and placed[1].removesuffix(".weight") in known:
                listed.add(blocks)
    own = {name: size for name, size in sizes.items() if not is_foreign(name)}
    decoders = {name: size for name, size in own.items() if "encoder" not in name.split(".")}
    wanted = decoders or own
    wanted = {name: size for name, size in wanted.items() if name in listed} or wanted
    return max(wanted, key=lambda name: wanted[name]) if wanted else None


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
    return CUSTOMARY_ORDER.index(leaf) if leaf in CUSTOMARY_ORDER else len(CUSTOMARY_ORDER)


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
    folder: Path, layers: Sequence[LinearLayer], others: Sequence[str], include: Sequence[str], exclude: Sequence[str]
) -> LayerChoice:
    wanted, unwanted = _compile(include), _compile(exclude)
    for option, patterns in (("include", wanted), ("exclude", unwanted)):
        for pattern in patterns:
            if not any(_matches(pattern, layer) for layer in layers) and not any(pattern.search(x) for x in others):
                raise CheckpointError(
                    f"the pattern {pattern.pattern!r} to {option} matches none of the {len(layers)} linear layers of "
                    f"{folder}; it must be a regular expression that occurs in a name such as {layers[0].name}"
                )
    chosen = tuple(
        layer
        for layer in layers
        if (any(_matches(p, layer) for p in wanted) if wanted else layer.block is not None)
        and not any(_matches(p, layer) for p in unwanted)
    )
    if not chosen:
        raise CheckpointError(
            f"the layer patterns must leave at least one of the {len(layers)} linear layers of {folder}, "
            f"but include {list(include)} and exclude {list(exclude)} leave none"
        )
    taken = {layer.name for layer in chosen}
    return LayerChoice(chosen, tuple(layer for layer in layers if layer.name not in taken), tuple(others))


def _matches(pattern: re.Pattern[str], layer: LinearLayer) -> bool:
    """Return whether a pattern occurs in a layer's name, or in that of the stacked tensor that holds the layer."""
    return pattern.search(layer.name) is not None or (layer.slice is not None and bool(pattern.search(layer.tensor)))


def _compile(patterns: Sequence[str]) -> list[re.Pattern[str]]:
    compiled: list[re.Pattern[str]] = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise CheckpointError(f"a layer pattern must be a regular expression, not {pattern!r}: {error}") from error
    return compiled
