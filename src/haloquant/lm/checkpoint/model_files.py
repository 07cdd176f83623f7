"""Find the tensors of a model folder in the files that transformers would load, and say which files it passes over.

transformers reads `model.safetensors` if there is one. Else it reads every shard that `model.safetensors.index.json`
names, and takes all tensors in them: it does not compare the index with the shards. Of a tensor in two shards it keeps
the one in the shard whose name comes last.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from haloquant.errors import MALFORMED, CheckpointError
from haloquant.lm.checkpoint.paths import GGUF, is_shard_name
from haloquant.lm.checkpoint.remote import RemoteFile, list_files
from haloquant.lm.checkpoint.safetensors import StoredTensor, read_header
from haloquant.store.atomic_files import read_bounded

MAX_INDEX_BYTES = 64 << 20
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
Find = Callable[[str], Path | RemoteFile | None]
Found = tuple[dict[str, StoredTensor], tuple[str, ...]]
# The name of the inner model in transformers. A checkpoint of the inner model alone lacks it, as those of GPT-2 on the
# hub do. Families that are not listed: "model".
_PREFIX: Mapping[str, str] = {
    **dict.fromkeys(("gpt2", "gpt_neo", "gptj", "bloom", "falcon", "gpt_bigcode", "mpt"), "transformer"),
    "gpt_neox": "gpt_neox",
}
_INNER = ("h.0.", "layers.0.", "blocks.0.", "decoder.layers.0.")


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def find_tensors(folder: Path, url: str = "") -> Found:
    """Return the tensors of a folder by name, and one sentence for each file or name that is passed over.

    Args:
        folder: the folder, with its index.
        url: location of the shards, if they are not in the folder.

    Raises:
        CheckpointError: A file is missing, damaged or outside the folder, or it is not clear which file is the model.
    """
    if url:
        names = frozenset(list_files(url))

        def find(name: str) -> Path | RemoteFile | None:
            return RemoteFile(f"{url}/{name}") if name in names else None
    else:
        names = frozenset(file.name for file in folder.iterdir())

        def find(name: str) -> Path | RemoteFile | None:
            return folder / name if (folder / name).exists() or (folder / name).is_symlink() else None

    weights = sorted(name for name in names if is_shard_name(name) and name != ADAPTER)
    index = folder / INDEX
    if (whole := find(WEIGHTS)) is not None:
        return read_header(whole), _passed_over(folder, [name for name in weights if name != WEIGHTS], names, WEIGHTS)
    if index.is_file():
        shards, claimed = _read_index(index)
        tensors, notes = _read_shards(folder, shards, claimed, find)
        return tensors, (*notes, *_passed_over(folder, sorted(set(weights) - set(shards)), names - {INDEX}, INDEX))
    if len(weights) == 1:
        return read_header(find(weights[0]) or folder / weights[0]), ()
    raise CheckpointError(_no_model(folder, weights, names))


def with_prefix(tensors: Mapping[str, StoredTensor], model_type: str) -> dict[str, StoredTensor]:
    """Return the tensors by their names in the causal model, if they are those of the inner model alone.

    transformers adds the name of the inner model when it loads such a folder (`transformer.` for GPT-2).
    """
    if not any(name.startswith(_INNER) for name in tensors):
        return dict(tensors)
    prefix = _PREFIX.get(model_type, "model")
    if any(name.startswith(f"{prefix}.") for name in tensors):
        return dict(tensors)
    named = {name if name.startswith("lm_head.") else f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
    return {name: replace(tensor, name=name) for name, tensor in named.items()}


def _read_index(index: Path) -> tuple[list[str], dict[str, str]]:
    try:
        data = read_bounded(index, MAX_INDEX_BYTES, error=CheckpointError)
        claimed = msgspec.json.decode(data, type=_Index).weight_map
    except MALFORMED as error:
        raise CheckpointError(f"{index} must map tensors to shards, but is damaged: {error}") from error
    shards = sorted(set(claimed.values()))
    for shard in shards:
        if not is_shard_name(shard):
            raise CheckpointError(f"{index} must name shards beside it (*.safetensors), not {shard!r:.80}")
    if not shards:
        raise CheckpointError(f"{index} must name the shards of the model, but names none")
    return shards, claimed


def _read_shards(folder: Path, shards: Sequence[str], claimed: Mapping[str, str], find: Find) -> Found:
    tensors: dict[str, StoredTensor] = {}
    twice: list[str] = []
    for shard in shards:
        if (file := find(shard)) is None:
            raise CheckpointError(f"{folder} lacks the shard {shard}, which {INDEX} names; download it")
        header = read_header(file)
        twice += [name for name in header if name in tensors]
        tensors |= header
    notes: list[str] = []
    if twice:
        notes.append(
            f"{_listed(twice)} stand in two shards of {folder.name}; the last one is read, as transformers does"
        )
    absent = [name for name in claimed if name not in tensors]
    if absent:
        notes.append(
            f"{INDEX} names {_listed(absent)}, which no shard holds; transformers loads the folder without them"
        )
    return tensors, tuple(notes)


def _passed_over(folder: Path, others: Sequence[str], names: frozenset[str], read: str) -> tuple[str, ...]:
    """Return the note on files that look like weights and that transformers does not read beside `read`."""
    others = [*others, *sorted(name for name in names if name.lower().endswith(GGUF))]
    others += [INDEX] if read == WEIGHTS and INDEX in names else []
    if not others:
        return ()
    return (f"{_listed(others)} of {folder.name} are not read: transformers loads {read}",)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _no_model(folder: Path, weights: Sequence[str], names: frozenset[str]) -> str:
    """Return the sentence for a folder in which no file can be taken for the model."""
    if weights:
        return (
            f"{folder} holds {len(weights)} safetensors files and must also hold {INDEX}, which says which files are "
            "the model's"
        )
    if ADAPTER in names:
        return (
            f"{folder} holds an adapter ({ADAPTER}) without its model; put both into one folder, or merge the adapter "
            "into the model first"
        )
    pickled = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth")))
    if pickled:
        return (
            f"{folder} must hold safetensors, not only {pickled[0]}: pickled weights can run code and are not read; "
            "save the model again with safe serialization"
        )
    return f"{folder} must hold {WEIGHTS} or shards with {INDEX}, but holds neither"
