"""Small files of GGUF files, and files that are not whole models of their metadata."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")
pytest.importorskip("torch")

from haloquant.errors import CheckpointError, MissingExtraError  # noqa: E402
from haloquant.jobs.inputs import has_tensors  # noqa: E402
from haloquant.lm.checkpoint.gguf import package  # noqa: E402
from haloquant.lm.checkpoint.gguf.folder import _remove_home, make_folder  # noqa: E402
from haloquant.lm.checkpoint.gguf.header import read_gguf_header  # noqa: E402
from haloquant.lm.checkpoint.gguf.names import _check_ends  # noqa: E402
from haloquant.lm.checkpoint.paths import is_gguf, local_folder  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.text import load_tokenizer  # noqa: E402
from haloquant.store.temporary_paths import temporary_path  # noqa: E402
from support.gguf_files import convert  # noqa: E402
from support.tiny_model import save_llama  # noqa: E402


@pytest.fixture(scope="module")
def hf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("hf"), attention_bias=False, vocab_size=262, intermediate_size=160)


def test_the_configuration_and_the_tokenizer_of_a_file(hf: Path, tmp_path: Path) -> None:
    file = convert(hf, tmp_path / "tiny.Q8_0.gguf", "Q8_0")
    folder = make_folder(file)
    assert folder == make_folder(file) and folder.name == "tiny.Q8_0"
    made, given = (json.loads((path / "config.json").read_text()) for path in (folder, hf))
    for name in ("hidden_size", "intermediate_size", "num_key_value_heads", "vocab_size", "tie_word_embeddings"):
        assert made[name] == given[name]
    assert made["architectures"] == ["LlamaForCausalLM"] and str(folder.parent) not in json.dumps(made)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.decode(tokenizer("the ü")["input_ids"]) == "the ü"
    assert tokenizer.vocab_size == 262 and tokenizer.eos_token_id == 1


def test_bytes_behind_the_last_tensor_are_refused(hf: Path, tmp_path: Path) -> None:
    file = convert(hf, tmp_path / "tiny.gguf", "Q8_0")
    data = file.read_bytes()
    for behind in (b"\0" * 32, b"x", data):
        file.write_bytes(data + behind)
        with pytest.raises(CheckpointError, match=r"must end with its last tensor, .*, at byte \d+, but has \d+;"):
            open_checkpoint(file)


def test_the_padding_of_the_last_tensor_may_be_there_or_not(tmp_path: Path) -> None:
    file = tmp_path / "odd.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_tensor("a.weight", np.ones(32, np.float32))
    writer.add_tensor("b.weight", np.ones(3, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data = file.read_bytes()
    for length, whole in ((0, True), (-20, True), (32, False)):  # 12 bytes are padded to 32
        file.write_bytes(data[:length] if length < 0 else data + b"\0" * length)
        entries = read_gguf_header(file).tensors.values()
        if whole:
            _check_ends(entries)
        else:
            with pytest.raises(CheckpointError, match=rf"last tensor, b\.weight, at byte {len(data)}, but has"):
                _check_ends(entries)
    table = data.index(b"a.weight") - 8
    file.write_bytes(data[:8] + bytes(8) + data[16:table] + bytes(-table % 32))  # the first part of a split model
    assert not read_gguf_header(file).tensors
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match="must end with its header at byte"):
        read_gguf_header(file)


def test_a_file_is_known_by_its_first_letters_too(hf: Path, tmp_path: Path) -> None:
    file = convert(hf, tmp_path / "tiny.gguf", "F16")
    blob = file.rename(tmp_path / "sha256-1f.bin")
    assert is_gguf(blob) and has_tensors(str(blob)) and local_folder(blob).name == "sha256-1f.bin"
    assert open_checkpoint(blob).layers
    blob.write_bytes(b"GGML")
    assert not is_gguf(blob) and not is_gguf(tmp_path) and not is_gguf(tmp_path / "none")


NAME_ONE = """
import pathlib, sys
from haloquant.store.temporary_paths import temporary_path
print(temporary_path(pathlib.Path(sys.argv[1]) / "haloquant-gguf"), flush=True)
sys.stdin.read()
"""


def test_folders_that_killed_processes_left_are_removed_and_those_of_living_ones_stay(
    hf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", NAME_ONE, str(scratch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        left, alive = (Path(process.stdout.readline().strip()) for process in begun if process.stdout)
        for folder in (left, alive, scratch / "haloquant-gguf", scratch / "notes"):
            (folder / "model").mkdir(parents=True)
        begun[0].kill()
        begun[0].wait()
        own = make_folder(convert(hf, tmp_path / "x.gguf", "F16")).parent
        assert own.name.rsplit("-", 1)[0] == temporary_path(scratch / "haloquant-gguf").name.rsplit("-", 1)[0]
        assert own.stat().st_mode & 0o777 == 0o700
        assert set(scratch.iterdir()) == {own, alive, scratch / "haloquant-gguf", scratch / "notes"}
        _remove_home(own, -1)  # in a forked child, which has another number
        assert own.is_dir()
    finally:
        for process in begun:
            process.communicate("")


def test_a_folder_with_one_file_is_that_file_and_one_with_two_is_refused(hf: Path, tmp_path: Path) -> None:
    convert(hf, tmp_path / "a.gguf", "F16")
    assert local_folder(tmp_path).name == "a"
    assert len(open_checkpoint(tmp_path).layers) == 14
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"holds 2 models in GGUF \(a\.gguf, b\.gguf\); give the path of one"):
        local_folder(tmp_path)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"drop": "blk.1.ffn_up.weight"}, r"must hold every tensor of its model, but lacks blk\.1\.ffn_up\.weight"),
        ({"block_count": 1}, r"has no place for blk\.1\."),
        ({"embedding_length": 128}, r"tensor .* must be \[.*128.*\], as its metadata say, not \["),
        ({"tokens": 300}, "must have a row of its embedding for each of its 300 tokens, but has 262"),
        ({"attention.head_count": 0}, r"must have a number above 0 in llama\.attention\.head_count, not 0"),
        (
            {"rope.scaling.type": "longrope"},
            "must scale its positions .* not by 'longrope'",
        ),
        ({"rope.scaling.type": "yarn"}, "not by yarn without a factor"),
        (
            {"rope.dimension_count": 4, "attention.key_length": 16},
            r"must turn all 16 numbers of a head .* not 4 \(rope\.dimension_count\)",
        ),
        ({"attention.causal": 0}, r"must have true in llama\.attention\.causal"),
    ],
)
def test_a_header_of_another_model_is_refused(
    settings: dict[str, Any], sentence: str, hf: Path, tmp_path: Path
) -> None:
    file = convert(hf, tmp_path / "x.gguf", **({"tokens": 0} | settings))
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(file)


@pytest.mark.parametrize("name", ["rope.scaling.factor", "rope.scale_linear"])
def test_a_factor_alone_scales_positions_linearly(name: str, hf: Path, tmp_path: Path) -> None:
    made = json.loads((make_folder(convert(hf, tmp_path / "x.gguf", **{name: 4.0})) / "config.json").read_text())
    assert made["rope_parameters"]["rope_type"] == "linear" and made["rope_parameters"]["factor"] == 4.0


def test_tensors_that_share_bytes_or_a_place_are_refused(hf: Path, tmp_path: Path) -> None:
    file = convert(hf, tmp_path / "x.gguf", tokens=0)
    data = bytearray(file.read_bytes())
    name = b"blk.0.attn_k.weight"
    place = data.index(name) + len(name) + 4 + 2 * 8 + 4  # behind dimensions and type
    data[place : place + 8] = bytes(8)
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"k_proj\.weight.* one behind the other, but they share bytes"):
        open_checkpoint(file)


def test_how_a_tokenizer_splits_text_is_said_if_the_file_does_not(
    hf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf.GGUFWriter, "add_tokenizer_pre", lambda *_: None)
    checkpoint = open_checkpoint(convert(hf, tmp_path / "x.gguf"))
    assert len(checkpoint.notes) == 1 and "so text is split as GPT-2 does" in checkpoint.notes[0]


def test_a_file_that_is_cut_short_is_refused_before_any_tensor_is_read(hf: Path, tmp_path: Path) -> None:
    file = convert(hf, tmp_path / "x.gguf", tokens=0)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match=r"is cut short: tensor \S+ must end at byte"):
        open_checkpoint(file)


def test_a_family_that_is_not_read_is_named(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "rwkv7")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match=r"a family that is read from GGUF \(llama, .*\), not 'rwkv7'"):
        open_checkpoint(tmp_path / "x.gguf")


def test_a_file_without_a_tokenizer_is_named_and_not_its_folder(hf: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the GGUF file of tiny must hold a tokenizer, but holds none; give the"):
        load_tokenizer(make_folder(convert(hf, tmp_path / "tiny.gguf", tokens=0)))


def test_a_missing_package_is_one_sentence(hf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = convert(hf, tmp_path / "x.gguf", tokens=0)
    package.gguf_package.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"GGUF files need the gguf package: pip install 'haloquant\[gguf\]'"):
        make_folder(file)
    package.gguf_package.cache_clear()
