"""A checkpoint that lacks a part of its model is refused, whoever quantizes it."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.completeness import check_complete, shared_layers
from haloquant.lm.checkpoint.reader import open_checkpoint
from support.tiny_model import save_gpt2, save_llama

Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return save_llama(tmp_path_factory.mktemp("model") / "tiny")


def changed(whole: Path, folder: Path, edit) -> Path:
    folder.mkdir()
    tensors = load_file(whole / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_bytes((whole / "config.json").read_bytes())
    return folder


def refused(whole: Path, folder: Path, edit) -> str:
    with pytest.raises(CheckpointError) as caught:
        check_complete(open_checkpoint(changed(whole, folder, edit)))
    return str(caught.value).replace(f"{folder}", "FOLDER")


def test_whole_models_pass(whole: Path, tmp_path: Path) -> None:
    for folder in (whole, save_gpt2(tmp_path / "gpt2")):
        checkpoint = open_checkpoint(folder)
        check_complete(checkpoint)
        assert shared_layers(checkpoint) == ()


def test_a_layer_is_missing(whole: Path, tmp_path: Path) -> None:
    said = refused(whole, tmp_path / "m", lambda tensors: tensors.pop(Q))
    assert said == (
        "FOLDER must hold self_attn.q_proj.weight in block 1, as in others (model.layers.0.self_attn.q_proj.weight), "
        "but does not; a shard is missing or was saved in part"
    )


def test_a_norm_is_missing(whole: Path, tmp_path: Path) -> None:
    said = refused(whole, tmp_path / "m", lambda tensors: tensors.pop("model.layers.0.input_layernorm.weight"))
    assert said.startswith("FOLDER must hold input_layernorm.weight in block 0, as in others (model.layers.1.input_")


def test_a_block_is_missing(whole: Path, tmp_path: Path) -> None:
    def edit(tensors: dict[str, np.ndarray]) -> None:
        for name in [name for name in tensors if ".layers.1." in name]:
            tensors.pop(name)

    assert refused(whole, tmp_path / "m", edit) == (
        "FOLDER must hold 2 decoder blocks, as config.json says, but holds nothing of block 1; a shard is missing, or "
        "the configuration is of another model"
    )


def test_the_embedding_is_missing(whole: Path, tmp_path: Path) -> None:
    assert refused(whole, tmp_path / "m", lambda tensors: tensors.pop("model.embed_tokens.weight")) == (
        "FOLDER must hold the embedding of its tokens (a tensor like embed_tokens.weight), but does not; "
        "a shard is missing"
    )


def test_a_layer_of_another_shape(whole: Path, tmp_path: Path) -> None:
    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors[Q] = tensors[Q][:, :60].copy()

    assert refused(whole, tmp_path / "m", edit) == (  # which of two is wrong, nothing says
        f"FOLDER: tensors model.layers.0.self_attn.q_proj.weight and {Q} must have one shape, not [64, 64] and [64, 60]"
    )


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_of_several_blocks_the_odd_one_is_to_be_changed(odd: int, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    three = save_llama(tmp_path / "three", num_hidden_layers=3)
    names = [f"model.layers.{block}.mlp.up_proj.weight" for block in range(3)]

    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors[names[odd]] = tensors[names[odd]][:-1].copy()

    rows, other = len(load_file(three / "model.safetensors")[names[odd]]), names[1 if odd == 0 else 0]
    assert refused(three, tmp_path / "m", edit) == (
        f"FOLDER: tensor {names[odd]} must be [{rows}, 64], as {other} is, not [{rows - 1}, 64]"
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["model.layers.1.input_layernorm.weight", "model.embed_tokens.weight"])
def test_what_is_copied_must_be_numbers_too(whole: Path, tmp_path: Path, name: str, bad: float) -> None:
    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors[name].flat[-1] = bad

    assert f"tensor {name} must be finite, but holds {bad} at (" in refused(whole, tmp_path / "m", edit)


def test_towers_that_are_copied_may_hold_infinity(whole: Path, tmp_path: Path) -> None:
    """Some towers hold the bounds of inputs that are clipped, which are infinite where nothing is clipped."""
    bound = {"model.audio_tower.layers.0.input_max": np.array(np.inf, np.float32)}
    check_complete(open_checkpoint(changed(whole, tmp_path / "m", lambda tensors: tensors.update(bound))))


def test_an_unknown_family_may_have_unlike_blocks_but_must_have_all(whole: Path, tmp_path: Path) -> None:
    folder = changed(whole, tmp_path / "m", lambda tensors: tensors.pop(Q))
    config = (folder / "config.json").read_text().replace('"llama"', '"mystery"')
    (folder / "config.json").write_text(config)
    check_complete(open_checkpoint(folder))
    (folder / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(
        CheckpointError, match=r"must hold 3 decoder blocks, as config\.json says, but holds nothing of block 2"
    ):
        check_complete(open_checkpoint(folder))


def test_a_tensor_that_no_block_of_the_family_has_is_not_missing_in_the_others(whole: Path, tmp_path: Path) -> None:
    """As in files that hold quantities of another program beside the weights."""

    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.0.mlp.up_proj.weight_scale"] = np.ones((64, 1), np.float32)

    check_complete(open_checkpoint(changed(whole, tmp_path / "more", edit)))


def test_a_layer_of_a_type_that_is_not_read_is_refused_before_a_value_is_read(whole: Path, tmp_path: Path) -> None:
    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors[Q] = np.ones(tensors[Q].shape, np.int8)

    said = refused(whole, tmp_path / "bytes", edit)
    assert said == f"FOLDER/model.safetensors: tensor {Q} must be stored in F32, F16, BF16, F64, not I8"
