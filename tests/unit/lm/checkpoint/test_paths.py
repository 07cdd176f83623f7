from pathlib import Path

import pytest

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.paths import is_shard_name, local_folder


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("model-00001-of-00002.safetensors", True),
        ("../model.safetensors", False),
        ("/tmp/model.safetensors", False),
        ("model.bin", False),
        ("model\n.safetensors", False),
        ("m" * 255 + ".safetensors", False),
        (3, False),
    ],
)
def test_an_index_names_only_shards_beside_it(name: object, allowed: bool) -> None:
    assert is_shard_name(name) is allowed


def test_a_model_is_a_folder_of_this_machine(tmp_path: Path) -> None:
    assert local_folder(str(tmp_path)) == tmp_path
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(CheckpointError, match=r"must be a folder .* or a GGUF file, not the file .*; give the folder"):
        local_folder(file)
    with pytest.raises(CheckpointError, match=r"not the file .*notes\.txt$"):
        local_folder(file.rename(tmp_path / "notes.txt"))
