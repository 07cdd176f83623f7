"""Map the tensors of a GGUF file to the parameters of the model in transformers."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from haloquant.errors import CheckpointError, MissingExtraError
from haloquant.lm.checkpoint.config_values import failed_at
from haloquant.lm.checkpoint.gguf.experts import checkpoint_shapes, expert_names
from haloquant.lm.checkpoint.gguf.header import GgufEntry, GgufHeader
from haloquant.lm.checkpoint.gguf.layout import Layout, find_layout
from haloquant.lm.checkpoint.gguf.package import gguf_package
from haloquant.lm.checkpoint.gguf.tensors import GgufTensor, gguf_slices, gguf_tensor

# Families whose configuration `config` makes, and whose changes `layout` undoes. Mixtral is a "llama" with experts.
ARCHITECTURES = (
    "llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "phi3", "gpt2", "starcoder2",
    "stablelm", "nemotron", "bloom", "falcon",
)  # fmt: skip
# Tensors that a model computes from its configuration (`config` reads the scaling of positions from them).
COMPUTED = ("rope_freqs.weight",)


def check_architecture(header: GgufHeader) -> None:
    """Refuse a file of a family that is not read.

    Raises:
        CheckpointError: It is one.
    """
    if header.architecture not in ARCHITECTURES:
        raise CheckpointError(
            f"{header.file} must hold a model of a family that is read from GGUF ({', '.join(ARCHITECTURES)}), not "
            f"{header.architecture!r:.40}; give the original folder of this model"
        )


def map_tensors(header: GgufHeader, config: Any) -> dict[str, GgufTensor]:
    """Return the tensors of a file by their names in the model of transformers.

    Args:
        header: the header of the file.
        config: the model's configuration, of transformers.

    Raises:
        CheckpointError: A parameter of the model is missing or is there twice, a tensor has no place in it, a shape is
            another, tensors share bytes, or bytes follow the last one; or a tensor has a type that cannot be
            de-quantized.
    """
    shapes = checkpoint_shapes(config.model_type, _parameters(header, config))
    names = _names(header, shapes)
    found: dict[str, GgufTensor] = {}
    for stored, entry in header.tensors.items():
        for tensor in _tensors(header, config, entry, names.get(stored), shapes):
            if tensor.shape != shapes[tensor.name]:
                raise CheckpointError(
                    f"{entry.file}: tensor {stored} must be {list(shapes[tensor.name])}, as its metadata say, not "
                    f"{list(tensor.shape)}; the header is of another model, or damaged"
                )
            if tensor.name in found:
                raise CheckpointError(
                    f"{entry.file} must hold every tensor of its model once, but holds {tensor.name} in {stored} and "
                    "in another tensor; the file is damaged"
                )
            found[tensor.name] = tensor
    _check_all_there(header, config, shapes, names, found)
    _check_apart(found)
    _check_ends(header.tensors.values())
    return found


def _check_apart(found: Mapping[str, GgufTensor]) -> None:
    """Refuse tensors that share bytes: llama.cpp, too, reads files only whose tensors follow each other."""
    placed = sorted(found.values(), key=lambda tensor: (str(tensor.file), tensor.offset))
    for before, after in pairwise(placed):
        if before.file == after.file and before.offset + before.size_bytes > after.offset:
            raise CheckpointError(
                f"{after.file} must hold the tensors {before.name} and {after.name} one behind the other, but they "
                "share bytes; the file is damaged"
            )


def _check_ends(entries: Iterable[GgufEntry]) -> None:
    """Refuse bytes behind the last tensor of a file and its padding: a second download was appended."""
    ends: dict[GgufEntry, int] = {}  # the last entry of each file
    for entry in entries:
        tensor = gguf_tensor(entry, entry.name, Layout())
        ends[entry] = tensor.offset + tensor.size_bytes
    last = {entry.file: entry for entry in sorted(ends, key=lambda entry: ends[entry])}
    for file, entry in last.items():
        padded = -(-ends[entry] // entry.alignment) * entry.alignment
        if entry.file_bytes > padded:
            raise CheckpointError(
                f"{file} must end with its last tensor, {entry.name}, at byte {padded}, but has {entry.file_bytes}; "
                "download this file again"
            )


def _tensors(
    header: GgufHeader, config: Any, entry: GgufEntry, name: str | None, shapes: Mapping[str, tuple[int, ...]]
) -> Iterable[GgufTensor]:
    """Return what an entry holds: one tensor of the model, a tensor for each expert, or nothing that the model needs.

    Raises:
        CheckpointError: The model has no place for it.
    """
    if name is not None:
        heads = int(header.number("attention.head_count") or 0)
        kv_heads = int(header.number("attention.head_count_kv") or heads)
        return (gguf_tensor(entry, name, find_layout(header.architecture, entry.name, heads, kv_heads)),)
    experts = entry.shape[0] if len(entry.shape) == 3 else 1
    named = expert_names(config.model_type, entry.name, experts)
    if named is not None and all(name in shapes for name in named):
        return gguf_slices(entry, named) if len(entry.shape) == 3 else (gguf_tensor(entry, named[0], Layout()),)
    if entry.name in COMPUTED:
        return ()
    raise CheckpointError(
        f"{entry.file} must hold only tensors of a {config.model_type} model of transformers, which has no place for "
        f"{entry.name}"
    )


def _check_all_there(
    header: GgufHeader,
    config: Any,
    shapes: Mapping[str, tuple[int, ...]],
    names: Mapping[str, str],
    found: Mapping[str, GgufTensor],
) -> None:
    stored = {name: gguf for gguf, name in names.items()}
    for name in shapes:
        tied = config.tie_word_embeddings and name == "lm_head.weight"
        if name not in found and not tied:
            raise CheckpointError(
                f"{header.file} must hold every tensor of its model, but lacks {stored.get(name, name)}; the file is "
                "incomplete"
            )


def _parameters(header: GgufHeader, config: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the model's tensors by name, from a model without memory for its weights."""
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtraError("GGUF files need torch and transformers: pip install 'haloquant[gguf]'") from error
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:  # the values of a configuration go into the code of any family
        raise CheckpointError(
            f"{header.file} must describe a model of transformers, but: {failed_at(error, config.to_dict())}"
        ) from error
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _names(header: GgufHeader, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return the names of the model's tensors by their names in the file, from the table of the gguf package."""
    gguf = gguf_package()
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    table = gguf.get_tensor_name_map(kinds[header.architecture], int(header.number("block_count") or 0))
    found: dict[str, str] = {}
    for name in shapes:
        module, _, suffix = name.rpartition(".")
        stored = table.get_name(module) or table.get_name(module.partition(".")[2])
        if stored is not None:
            found[f"{stored}.{suffix}"] = name
    return found
