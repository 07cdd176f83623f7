"""The checkpoint reader against files written by the safetensors library, and against damaged ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from haloquant.errors import CheckpointError, FormatError
from haloquant.lm.checkpoint.reader import content_hash, open_checkpoint, read_tensor, read_weight
from haloquant.lm.checkpoint.safetensors import read_header
from haloquant.lm.packed.reader import shard_files
from support.hostile_files import CONFIG as ONE_BLOCK
from support.hostile_files import INDEX, SHARD, model_folder
from support.tiny_model import iterate_weights

CONFIG = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 16,
    "tie_word_embeddings": False,
}
ROLES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def llama_tensors(dtype: type = np.float32, blocks: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"model.embed_tokens.weight": (16, 8), "model.norm.weight": (8,), "lm_head.weight": (16, 8)}
    for i in range(blocks):
        shapes |= {f"model.layers.{i}.{role}.weight": (8, 8) for role in ROLES}
        shapes |= {f"model.layers.{i}.{role}.weight": (12, 8) for role in MLP[:2]}
        shapes |= {f"model.layers.{i}.mlp.down_proj.weight": (8, 12), f"model.layers.{i}.input_layernorm.weight": (8,)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def write(folder: Path, tensors: dict[str, np.ndarray], config: dict | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_layers_come_in_order_of_execution_with_their_groups(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path, llama_tensors()))
    first = [(layer.name.removeprefix("model.layers.0."), layer.group) for layer in checkpoint.layers[:7]]
    assert first == [*zip(ROLES, (0, 0, 0, 1), strict=True), *zip(MLP, (2, 2, 3), strict=True)]
    assert [layer.group for layer in checkpoint.layers[7:]] == [4, 4, 4, 5, 6, 6, 7]
    assert {layer.block for layer in checkpoint.layers} == {0, 1}
    assert max(layer.weights for layer in checkpoint.layers) == 96


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_weights_equal_what_was_written(tmp_path: Path, dtype: type) -> None:
    tensors = llama_tensors(dtype)
    checkpoint = open_checkpoint(write(tmp_path, tensors))
    for layer, weight in iterate_weights(checkpoint):
        np.testing.assert_array_equal(weight, tensors[layer.tensor].astype(np.float32))
        assert weight.dtype == np.float32
    buffer = np.empty(96, np.float32)
    for layer in checkpoint.layers:
        weight = read_weight(checkpoint, layer, buffer)
        assert np.shares_memory(weight, buffer)
        np.testing.assert_array_equal(weight, tensors[layer.tensor].astype(np.float32))
    np.testing.assert_array_equal(
        read_tensor(checkpoint, "model.norm.weight"), tensors["model.norm.weight"].astype("f4")
    )


def test_shards_are_found_through_the_index(tmp_path: Path) -> None:
    tensors = llama_tensors()
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    for file, members in parts.items():
        save_file({name: tensors[name] for name in members}, tmp_path / file)
    index = {"weight_map": {name: file for file, members in parts.items() for name in members}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    checkpoint = open_checkpoint(tmp_path)
    assert [file.name for file in checkpoint.files] == ["a.safetensors", "b.safetensors"]
    for layer, weight in iterate_weights(checkpoint):
        np.testing.assert_array_equal(weight, tensors[layer.tensor])
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks the shard b\.safetensors, which model\.safetensors\.index\.json"):
        open_checkpoint(tmp_path)
    index["weight_map"][names[1]] = "../b.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({name: tensors[name] for name in names[3::2]}, tmp_path / "b.safetensors")
    with pytest.raises(
        CheckpointError, match=r"must name shards beside it \(\*\.safetensors\), not '\.\./b\.safetensors'"
    ):
        open_checkpoint(tmp_path)
    index["weight_map"][names[1]] = "b.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    checkpoint = open_checkpoint(tmp_path)
    assert names[1] not in checkpoint.tensors
    without = "transformers loads the folder without them"
    assert checkpoint.notes == (f"model.safetensors.index.json names {names[1]}, which no shard holds; {without}",)


def test_patterns_choose_layers(tmp_path: Path) -> None:
    folder = write(tmp_path, llama_tensors())
    assert [layer.name for layer in open_checkpoint(folder, include=["lm_head"]).layers] == ["lm_head"]
    assert all("mlp" in layer.name for layer in open_checkpoint(folder, exclude=["self_attn"]).layers)
    with pytest.raises(CheckpointError, match=r"must leave at least one of the 15 linear layers .* leave none"):
        open_checkpoint(folder, exclude=["proj"])
    for wrong in ({"include": ["nothing"]}, {"exclude": ["re:.*down_proj"]}, {"exclude": ["mlp", "layers[0].mlp"]}):
        with pytest.raises(CheckpointError, match=r"matches none of the 15 linear layers .* such as model.layers.0"):
            open_checkpoint(folder, **wrong)
    named = open_checkpoint(folder, exclude=["lm_head", "k_proj"])  # the head is left anyway, so its name is no mistake
    assert [layer.name for layer in named.unchosen] == [
        *(f"model.layers.{b}.self_attn.k_proj" for b in (0, 1)),
        "lm_head",
    ]
    with pytest.raises(CheckpointError, match=r"must be a regular expression, not '\('"):
        open_checkpoint(folder, include=["("])


def test_a_tied_head_is_no_layer(tmp_path: Path) -> None:
    folder = write(tmp_path, llama_tensors(), CONFIG | {"tie_word_embeddings": True})
    with pytest.raises(CheckpointError, match="must leave at least one of the 14 linear layers"):
        open_checkpoint(folder, include=["lm_head"])


def test_tensors_that_share_their_bytes_are_read_once(tmp_path: Path) -> None:
    folder = write(tmp_path, llama_tensors())
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    k, q = (f"model.layers.1.self_attn.{name}_proj.weight" for name in "kq")
    header[q]["data_offsets"] = header[k]["data_offsets"]
    _rewrite(path, header, raw[8 + length :])
    checkpoint = open_checkpoint(folder)
    assert set(checkpoint.shared.items()) in ({(q, k)}, {(k, q)})
    assert len(checkpoint.layers) == 13
    header[q]["data_offsets"] = [header[k]["data_offsets"][0] + 4, header[k]["data_offsets"][1] + 4]
    _rewrite(path, header, raw[8 + length :])
    with pytest.raises(CheckpointError, match="must not overlap"):
        open_checkpoint(folder)


def _rewrite(path: Path, header: dict, data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_named(tmp_path: Path, bad: float) -> None:
    tensors = llama_tensors()
    tensors["model.layers.1.mlp.down_proj.weight"][3, 5] = bad
    checkpoint = open_checkpoint(write(tmp_path, tensors))
    with pytest.raises(CheckpointError, match=rf"down_proj\.weight must be finite, but holds {bad} at \(3, 5\)"):
        read_weight(checkpoint, "model.layers.1.mlp.down_proj")


def test_huge_but_finite_weights_are_read(tmp_path: Path) -> None:
    tensors = llama_tensors()
    tensors["model.layers.0.mlp.down_proj.weight"][:] = 3e38
    checkpoint = open_checkpoint(write(tmp_path, tensors))
    assert (read_weight(checkpoint, "model.layers.0.mlp.down_proj") == np.float32(3e38)).all()


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, llama_tensors())
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match=r"is cut short: tensor .* must end at byte \d+, but the file has \d+"):
        open_checkpoint(folder)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="must be a whole safetensors file, but is empty; download"):
        open_checkpoint(folder)
    for size in (5, 9, 40):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="must be a whole safetensors file, but its header claims"):
            open_checkpoint(folder)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path, llama_tensors())
    checkpoint = open_checkpoint(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(CheckpointError, match="ended while tensor"):
        list(iterate_weights(checkpoint))


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}, "must take .* bytes, not 8"),
        ({"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}, "must have a shape"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}, "must take 8 bytes"),
        ({"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}, "must have a known element type, not 'X9'"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [1000000, 1000008]}, "is cut short"),
        ({"dtype": "F32", "shape": "all", "data_offsets": [0, 8]}, "its header is damaged"),
        ([], "its header is damaged"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path: Path, entry: object, sentence: str) -> None:
    path = tmp_path / "x.safetensors"
    _rewrite(path, {"t": entry}, bytes(8))
    with pytest.raises(CheckpointError, match=sentence):
        read_header(path)


def test_a_header_that_claims_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="its header claims 1099511627776 bytes in a file of 10"):
        read_header(path)


def test_integers_are_not_weights(tmp_path: Path) -> None:
    tensors = llama_tensors()
    name = "model.layers.0.mlp.down_proj.weight"
    tensors[name] = tensors[name].astype(np.int8)
    checkpoint = open_checkpoint(write(tmp_path, tensors))
    with pytest.raises(CheckpointError, match=r"must be stored in F32, F16, BF16, F64, not I8"):
        read_weight(checkpoint, name.removesuffix(".weight"))


def test_what_is_no_model_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"must be a folder on this machine, but .*Llama-2-7b does not exist; nothing"
    ):
        open_checkpoint("meta-llama/Llama-2-7b")
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(CheckpointError, match=r"must be a folder .* or a GGUF file, not the file"):
        open_checkpoint(file)
    with pytest.raises(CheckpointError, match=r"a model folder must hold config\.json, but .* does not exist"):
        open_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(CheckpointError, match=r"must hold model\.safetensors or shards .* but holds neither"):
        open_checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(CheckpointError, match=r"not only pytorch_model\.bin: pickled weights can run code"):
        open_checkpoint(tmp_path)
    save_file(llama_tensors(), tmp_path / "a.safetensors")
    save_file(llama_tensors(), tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="holds 2 safetensors files and must also hold"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"is_encoder_decoder": True, "model_type": "t5"}, "must describe a decoder, not the encoder-decoder 't5'"),
        (
            {"model_type": "musicgen", "is_encoder_decoder": True, "decoder": {"model_type": "musicgen_decoder"}},
            "must describe a decoder, not the encoder-decoder 'musicgen'",
        ),
        ({"quantization_config": {"bits": 4}}, "not one that is quantized already"),
        ({"hidden_size": "many"}, "hidden_size of config.json must be a whole number, not 'many'"),
        (
            {"model_type": "roberta"},
            "not the encoder 'roberta', whose attention sees the token that is to be predicted",
        ),
        ({"model_type": "xlnet", "is_decoder": True}, "not the encoder 'xlnet'"),  # it does not heed is_decoder
        ({"architectures": ["MysteryForMaskedLM"]}, "must describe a decoder, which predicts each token from those"),
        (
            {"architectures": ["LlamaForSequenceClassification"]},
            "must describe a model that predicts tokens, not LlamaForSequenceClassification, whose head gives classes",
        ),
        ({"num_hidden_layers": -1}, "must give a positive num_hidden_layers, not -1"),
    ],
)
def test_configurations_that_will_not_do(tmp_path: Path, change: dict, sentence: str) -> None:
    folder = write(tmp_path, llama_tensors(), CONFIG | change)
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(folder)


def test_a_model_without_blocks_is_unknown(tmp_path: Path) -> None:
    folder = write(tmp_path, {"fc.weight": np.ones((4, 4), np.float32)}, CONFIG | {"model_type": "mystery"})
    with pytest.raises(CheckpointError, match=r"\(mystery\) must be a decoder with numbered blocks of linear layers"):
        open_checkpoint(folder)


def test_an_unknown_family_is_placed_by_common_words(tmp_path: Path) -> None:
    names = (
        "attention.wq",
        "attention.wk",
        "attention.wo",
        "feed_forward.w1",
        "feed_forward.w3",
        "feed_forward.w2",
        "odd",
    )
    tensors = {f"transformer.blocks.0.{name}.weight": np.ones((8, 8), np.float32) for name in names}
    tensors["transformer.blocks.0.norm_1.weight"] = np.ones((8, 8), np.float32)
    tensors["transformer.blocks.0.experts.w"] = np.ones((8, 8), np.float32)
    checkpoint = open_checkpoint(write(tmp_path, tensors, CONFIG | {"model_type": "mystery"}))
    assert not checkpoint.architecture.known
    assert [(layer.name.split("0.")[1], layer.group) for layer in checkpoint.layers] == [
        *zip(names, (0, 0, 1, 2, 2, 3, 4), strict=True)
    ]


def test_experts_of_a_3d_tensor_are_layers_of_their_own(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).standard_normal((3, 4, 8)).astype(np.float32)
    folder = write(tmp_path, {"model.layers.0.mlp.experts.down_proj": stack}, CONFIG | {"model_type": "mystery"})
    checkpoint = open_checkpoint(folder)
    assert [(layer.name[-11:], layer.expert) for layer in checkpoint.layers] == [
        ("0.down_proj", 0),
        ("1.down_proj", 1),
        ("2.down_proj", 2),
    ]
    for layer, weight in iterate_weights(checkpoint):
        np.testing.assert_array_equal(weight, stack[layer.slice].T)  # [experts, in, out]: the outputs are the hidden 8


def test_conv1d_weights_are_turned(tmp_path: Path) -> None:
    weight = np.arange(24, dtype=np.float32).reshape(4, 6)
    folder = write(
        tmp_path,
        {"h.0.attn.c_attn.weight": weight, "h.0.attn.c_attn.bias": np.ones(6, np.float32)},
        {"model_type": "gpt2", "n_embd": 4, "n_head": 2, "n_layer": 1, "vocab_size": 16},
    )
    checkpoint = open_checkpoint(folder)
    (layer,) = checkpoint.layers
    assert (layer.out_features, layer.in_features, layer.bias) == (6, 4, "transformer.h.0.attn.c_attn.bias")
    np.testing.assert_array_equal(read_weight(checkpoint, layer), weight.T)


def test_names_that_are_not_there(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path, llama_tensors()))
    with pytest.raises(CheckpointError, match=r"a layer must be one of the 14 linear layers of .*, not 'q'"):
        read_weight(checkpoint, "q")
    with pytest.raises(CheckpointError, match="must hold a tensor 'q', but does not"):
        read_tensor(checkpoint, "q")


def test_the_hash_follows_the_content(tmp_path: Path) -> None:
    tensors = llama_tensors()
    one = content_hash(open_checkpoint(write(tmp_path / "a", tensors)))
    assert one == content_hash(open_checkpoint(write(tmp_path / "b", tensors)))
    tensors["model.norm.weight"][0] += 1
    assert one != content_hash(open_checkpoint(write(tmp_path / "c", tensors)))


@pytest.mark.parametrize(
    "shard",
    ["../../etc/passwd", "/etc/passwd", "../x.safetensors", "/x.safetensors", "..", "a" * 300 + ".safetensors",
     "x\0.safetensors", "\x1b[2J.safetensors"],
)  # fmt: skip
def test_an_index_names_no_shard_outside_its_folder(shard: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(ONE_BLOCK))
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(CheckpointError, match=r"must name shards beside it \(\*\.safetensors\), not '"):
        open_checkpoint(tmp_path)
    with pytest.raises(FormatError, match=r"must name shards beside it \(\*\.safetensors\), not '"):
        shard_files(tmp_path)


@pytest.mark.parametrize("part", ["../../../../tmp/out", "a/b", "x\0y", "x\x1b[2Jy", "a" * 300])
def test_a_layer_name_leads_nowhere(part: str, tmp_path: Path) -> None:
    """Steps are folders named after layers, so a name with a path in it would lead out of the output folder."""
    (tmp_path / "config.json").write_text(json.dumps(ONE_BLOCK))
    save_file({f"model.layers.0.{part}.q_proj.weight": np.ones((8, 8), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"a layer's name must be up to 200 letters, digits, '_', '-' and '\.'"):
        open_checkpoint(tmp_path)


def test_a_shard_may_be_a_link_but_only_to_a_file(tmp_path: Path) -> None:
    """Downloaded models are folders of links to files elsewhere. They are read, but never written through a link."""
    (tmp_path / "config.json").write_text(json.dumps(ONE_BLOCK))
    (tmp_path / "model.safetensors").symlink_to(model_folder() / SHARD)
    assert len(open_checkpoint(tmp_path).layers) == 7
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"model\.safetensors must be a regular file, and is not$"):
        open_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").symlink_to("model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors must be readable, but: "):
        open_checkpoint(tmp_path)
