"""Which files of a folder are read, against what transformers loads from it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.checkpoint.model_files import find_tensors  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint, read_tensor  # noqa: E402
from haloquant.lm.quiet_transformers import quiet_transformers  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from support.tiny_model import save_gpt2, save_llama  # noqa: E402

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def write_index(folder: Path, weight_map: dict[str, str]) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def check_as_transformers(folder: Path) -> Any:
    """Compare every parameter that transformers loads with the tensor that is read; return the checkpoint."""
    checkpoint = open_checkpoint(folder)
    with quiet_transformers():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        assert np.array_equal(read_tensor(checkpoint, name), parameter.detach().numpy()), name
    return checkpoint


def test_the_whole_file_is_read_beside_an_index_of_older_shards(tmp_path: Path) -> None:
    folder = save_llama(tmp_path)
    tensors = load_file(folder / WEIGHTS)
    save_file({name: value + 1 for name, value in tensors.items()}, folder / "model-00001-of-00001.safetensors")
    write_index(folder, dict.fromkeys(tensors, "model-00001-of-00001.safetensors"))
    checkpoint = check_as_transformers(folder)
    assert checkpoint.notes == (
        f"model-00001-of-00001.safetensors, {INDEX} of {folder.name} are not read: transformers loads {WEIGHTS}",
    )


def test_files_in_other_formats_beside_the_whole_file_are_named(tmp_path: Path) -> None:
    folder = save_llama(tmp_path)
    save_file({"layers.0.attention.wq.weight": np.ones((4, 4), np.float32)}, folder / "consolidated.safetensors")
    (folder / "model.Q8_0.gguf").touch()
    checkpoint = check_as_transformers(folder)
    assert [note.partition(" of ")[0] for note in checkpoint.notes] == ["consolidated.safetensors, model.Q8_0.gguf"]


def test_names_that_no_shard_holds_and_tensors_in_another_shard(tmp_path: Path) -> None:
    folder = save_llama(tmp_path)
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, members in shards.items():
        save_file({name: tensors[name] for name in members}, folder / file)
    where = dict.fromkeys([*names, "model.layers.0.self_attn.rotary_emb.inv_freq"], "model-00001-of-00002.safetensors")
    where[names[0]] = "model-00002-of-00002.safetensors"
    write_index(folder, where)
    checkpoint = check_as_transformers(folder)
    assert len(checkpoint.notes) == 1 and "rotary_emb.inv_freq, which no shard holds" in checkpoint.notes[0]


def test_of_a_tensor_in_two_shards_the_last_is_read(tmp_path: Path) -> None:
    folder = save_llama(tmp_path)
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    save_file({"model.norm.weight": tensors["model.norm.weight"] * 2}, folder / "model-00002-of-00002.safetensors")
    where = dict.fromkeys(tensors, "model-00001-of-00002.safetensors")
    write_index(folder, where | {"model.layers.0.extra.weight": "model-00002-of-00002.safetensors"})
    checkpoint = check_as_transformers(folder)
    assert "model.norm.weight stand in two shards" in checkpoint.notes[0]


def test_gpt2_without_the_name_of_the_inner_model_has_the_names_of_the_causal_model(tmp_path: Path) -> None:
    folder = save_gpt2(tmp_path)
    path = folder / WEIGHTS
    tensors = {name.removeprefix("transformer."): value for name, value in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    assert "h.0.attn.c_attn.weight" in find_tensors(folder)[0]
    checkpoint = check_as_transformers(folder)
    assert checkpoint.layers[0].name == "transformer.h.0.attn.c_attn"


def test_a_file_of_another_name_is_read_if_it_is_the_only_one(tmp_path: Path) -> None:
    folder = save_llama(tmp_path)
    expected = load_model(folder).state_dict()
    (folder / WEIGHTS).rename(folder / "weights.safetensors")
    found = load_model(folder).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ({"weight_map": {}}, "must name the shards of the model, but names none"),
        ({"weight_map": {"a": "../b.safetensors"}}, "must name shards beside it"),
        ({"weight_map": {"a": "b.safetensors"}}, r"lacks the shard b\.safetensors"),
        ({"weight_map": 3}, "is damaged"),
    ],
)
def test_an_index_that_leads_nowhere_is_refused(index: Any, sentence: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=sentence):
        find_tensors(tmp_path)


def test_an_adapter_alone_is_no_model(tmp_path: Path) -> None:
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"holds an adapter .* without its model"):
        find_tensors(tmp_path)
