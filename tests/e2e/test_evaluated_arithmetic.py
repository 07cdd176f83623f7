"""What a person meets: a float16 model that overflows, and permissions of files."""

import json
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from haloquant.cli.app import invoke


@pytest.fixture(scope="module")
def wild(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in float16 with large weights in its last layers."""
    folder = tmp_path_factory.mktemp("wild") / "model"
    folder.mkdir()
    for file in tiny_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        factor = 3000.0 if name.endswith(("down_proj.weight", "up_proj.weight")) else 1.0
        tensors[name] = (tensor * factor).to(torch.float16)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    return folder


def test_a_model_and_its_packed_form_are_judged_in_float32_and_overflow_is_an_error(
    wild: Path, small_text: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    packed, text = str(tmp_path / "packed"), ["--text", str(small_text), "--tokens", "128"]
    asked = ["quantize", str(wild), "--out", packed, "--calibration", "none", "--tile", "32", "--goal", "acc-opt", "-q"]
    assert invoke(asked) == 0
    capfd.readouterr()
    assert invoke(["compare", str(wild), packed, *text, "--json", "-q"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert all(1 < row["perplexity"] < 1e6 and row["dtype"] == "float32" for row in rows)
    for model in (str(wild), packed):
        assert invoke(["evaluate", model, *text, "--dtype", "float16", "-q"]) == 2
        said = " ".join(capfd.readouterr().err.split())
        assert "computed in float16 it gives NaN or infinity in" in said and "evaluate it in float32" in said


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_packed_and_exported_models_have_the_permissions_that_the_umask_allows(
    umask: int, tiny_folder: Path, tmp_path: Path
) -> None:
    packed, plain = tmp_path / "packed", tmp_path / "plain"
    asked = ["quantize", str(tiny_folder), "--out", str(packed), "--calibration", "none", "--tile", "32", "-q"]
    old = os.umask(umask)
    try:
        assert invoke([*asked, "--goal", "acc-opt"]) == 0
        assert invoke(["export", str(packed), "--from", str(tiny_folder), "--out", str(plain), "-q"]) == 0
    finally:
        os.umask(old)
    for folder in (packed, plain):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
        assert {"model.safetensors", "config.json", "halo_manifest.json", "tokenizer.json"} <= files.keys()
        assert set(files.values()) == {0o666 & ~umask}, files
