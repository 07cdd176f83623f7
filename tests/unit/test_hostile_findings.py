"""What fuzzing and reading found in the readers of outside files, one test per finding, by its sentence."""

import json
import os
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from safetensors.numpy import save_file

from haloquant.circuits.liberty.boolean_functions import over_inputs
from haloquant.circuits.liberty.parser import parse_function
from haloquant.circuits.netlist.yosys_json import read_module
from haloquant.circuits.ports import parse_ports
from haloquant.errors import (
    CheckpointError,
    FormatError,
    InputError,
    LibertyError,
    NetlistError,
    ProfileError,
    RecipeError,
    TargetError,
)
from haloquant.jobs.inputs import model_window, read_config
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.checkpoint.safetensors import read_header
from haloquant.lm.export.model_folder import copy_small_files
from haloquant.lm.packed.reader import open_packed, shard_files
from haloquant.recipe import parse_recipe, read_recipe
from haloquant.report.results import decode_results
from haloquant.store.atomic_files import MANIFEST, finished
from haloquant.store.profiles import read_profile
from haloquant.store.simulation_files import read_simulation
from haloquant.store.steps import Steps
from haloquant.store.targets import parse_target
from support.hostile_files import CONFIG, INDEX, framed, model_folder

DEEP = b"[" * 100_000
DEEP_UNKNOWN = b'{"unknown":' + DEEP
DIGITS = b"9" * 5000
BAD_UTF8 = b'{"name\xff": 1}'


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("data", [DEEP, DEEP_UNKNOWN, BAD_UTF8], ids=["deep", "deep and unknown", "not UTF-8"])
def test_json_that_no_parser_can_hold_is_refused_by_every_reader(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^results\.json must be results of a haloquant run: "):
        decode_results(data, Path("results.json"))
    with pytest.raises(FormatError, match=r"^simulation must be "):
        read_simulation(data)
    with pytest.raises(ProfileError, match=r"x must be a MAC profile: "):
        read_profile(_file(tmp_path / "x", data))
    with pytest.raises(CheckpointError, match=r"must be a safetensors file, but its header is damaged: "):
        read_header(_file(tmp_path / "x.safetensors", framed(data, b"")))
    with pytest.raises(CheckpointError, match=r"config\.json must "):
        _file(tmp_path / "config.json", data)
        open_checkpoint(tmp_path)
    with pytest.raises((FormatError, CheckpointError), match=r"config\.json must be |quant_method of a packed"):
        open_packed(tmp_path)
    if data is not BAD_UTF8:
        with pytest.raises(CheckpointError, match=r"config\.json must be a JSON object"):
            read_config(tmp_path)
    with pytest.raises(NetlistError, match=r"^a netlist must be JSON as Yosys' write_json writes it"):
        read_module(data.decode("utf-8", "replace"))
    _file(tmp_path / MANIFEST, data)
    assert not finished(tmp_path, "key")


@pytest.mark.parametrize(
    "value", [b"[" * 5000, b"{a=" * 5000, DIGITS, b'"\xff"'], ids=["lists", "tables", "digits", "not UTF-8"]
)
def test_toml_that_no_parser_can_hold_is_refused_by_every_reader(value: bytes) -> None:
    with pytest.raises(RecipeError, match=r"^r\.toml must be a haloquant recipe in TOML: "):
        parse_recipe(b"x = " + value, "r.toml")
    with pytest.raises(TargetError, match=r"^target file must be TOML, and it is not: "):
        parse_target(b"x = " + value)
    with pytest.raises(NetlistError, match=r"^the ports file must be TOML with the keys of MacPorts"):
        parse_ports("x = " + value.decode("utf-8", "replace"))


def _target(**changes: object) -> bytes:
    text = (resources.files("haloquant") / "data" / "targets" / "paper_tpu.toml").read_text()
    document = tomllib.loads(text)
    document["array"]["rows"] |= changes
    return tomli_w.dumps(document).encode()


def test_an_accelerator_has_a_finite_number_of_rows() -> None:
    for value in (float("inf"), 10**400):
        with pytest.raises(TargetError, match=r"^array\.rows\.value must be finite; only sizes and bandwidths may"):
            parse_target(_target(value=value))
    with pytest.raises(TargetError, match=r"^array\.rows\.value must be at most 1048576, not 1e\+30\.$"):
        parse_target(_target(value=1e30))


@pytest.mark.parametrize(
    "text",
    [
        "seed = 99999999999999999999",
        "[hardware]\ntile = 9223372036854775807",
        "[hardware]\nmargin = nan",
        "[quantize]\nfast_loss_db = inf",
        "[quantize]\nsweep = [nan]",
        "[quantize]\nsweep = [-1e400]",
        "[workload]\ndecode_batch = 4611686018427387904",
    ],
)
def test_a_recipe_holds_no_number_beyond_use(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^r must be a haloquant recipe in TOML: Expected "):
        parse_recipe(text.encode(), "r")


def test_a_named_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "recipe.toml"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"config\.json must be a regular file, and is not$"):
        open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors must be a regular file, and is not$"):
        read_header(tmp_path / "model.safetensors")
    with pytest.raises(RecipeError, match=r"recipe\.toml must be a regular file, and is not"):
        read_recipe(tmp_path / "recipe.toml")


@pytest.mark.parametrize(
    "shard",
    ["../../etc/passwd", "/etc/passwd", "../x.safetensors", "/x.safetensors", "..", "a" * 300 + ".safetensors",
     "x\0.safetensors", "\x1b[2J.safetensors"],
)  # fmt: skip
def test_an_index_names_no_shard_outside_its_folder(shard: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(CheckpointError, match=r"must name shards beside it \(\*\.safetensors\), not '"):
        open_checkpoint(tmp_path)
    with pytest.raises(FormatError, match=r"must name shards beside it \(\*\.safetensors\), not '"):
        shard_files(tmp_path)


@pytest.mark.parametrize("part", ["../../../../tmp/out", "a/b", "x\0y", "x\x1b[2Jy", "a" * 300])
def test_a_layer_name_leads_nowhere(part: str, tmp_path: Path) -> None:
    """Steps are folders named after layers, so a tensor's name could have led out of the output folder."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file({f"model.layers.0.{part}.q_proj.weight": np.ones((8, 8), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"a layer's name must be up to 200 letters, digits, '_', '-' and '\.'"):
        open_checkpoint(tmp_path)


def test_a_step_stays_in_its_folder(tmp_path: Path) -> None:
    def never(folder: Path) -> None:
        raise AssertionError(folder)

    for name in ("../x", "/tmp/x", "layer-a/../../../x"):
        with pytest.raises(InputError, match=r"^a step's name must be that of a folder in "):
            Steps(tmp_path / "steps", {}).run(name, 1, never)


def test_a_tensor_named_twice_is_refused(tmp_path: Path) -> None:
    """The format forbids it, and readers that take the first and those that take the last would see two models."""
    entry = '{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}'
    header = f'{{"w":{entry % (0, 1)},"w":{entry % (1, 2)}}}'.encode()
    with pytest.raises(CheckpointError, match=r"its header is damaged: the name 'w' stands twice$"):
        read_header(_file(tmp_path / "x.safetensors", framed(header, b"ab")))


@pytest.mark.parametrize("shape", [[1 << 60], [1 << 31, 1 << 31], [1 << 40, 1 << 40]])
def test_a_claimed_size_is_checked_before_memory_is_asked_for(shape: list[int], tmp_path: Path) -> None:
    size = 4
    for n in shape:
        size *= n
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    with pytest.raises(CheckpointError, match=r"is cut short: tensor w must end at byte \d+, but the file has \d+"):
        read_header(_file(tmp_path / "x.safetensors", framed(header, b"ab")))


@pytest.mark.parametrize("value", [-5, "long", 0.5, [1]])
def test_a_window_is_a_positive_number(value: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": value}))
    with pytest.raises(CheckpointError, match=r"must give a positive number of positions, not "):
        model_window(tmp_path)


def test_a_shard_may_be_a_link_but_only_to_a_file(tmp_path: Path) -> None:
    """Downloaded models lie behind links (a snapshot points at blobs); they are read, and never written through."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").symlink_to(model_folder() / "model.safetensors")
    assert len(open_checkpoint(tmp_path).layers) == 7
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"model\.safetensors must be a regular file, and is not$"):
        open_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").symlink_to("model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors must be readable, but: "):
        open_checkpoint(tmp_path)


def sound_results() -> dict[str, object]:
    row = {"name": "fast", "values": [0, 1], "voltage_v": 1.0, "frequency_hz": 1e9, "slack_s": 0.0}
    weights = {"weights": [-1, 0, 1], "delay_s": [1e-9] * 3, "energy_j": [1e-12] * 3}
    profile = {"name": "p", "description": "d", "corner": "tt", **weights, "classes": [row]}
    tile = {"method": "halo", "layer": "l", "classes": [[0, 0]], "sensitivity": [[0.5, 0.5]]}
    return {
        "version": 1, "model": "m", "parameters": 1, "linear_weights": 1, "evaluation": "t", "evaluation_tokens": 1,
        "profile": profile, "methods": [], "tiles": [tile], "pareto": [], "timeline": [], "timeline_of": "",
        "provenance": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("where", "wrong", "said"),
    [
        (("profile", "delay_s"), [1e-9], "profile.delay_s must have 3 values, one for each weight, not 1"),
        (("profile", "energy_j"), [], "profile.energy_j must have 3 values, one for each weight, not 0"),
        (("profile", "classes", 0, "values"), [0, 5], "class fast must have words of profile.weights, not 5"),
        (("tiles", 0, "classes"), [[0], [0, 0]], "tiles of l must have rows of one length"),
        (("tiles", 0, "sensitivity"), [[0.5]], "sensitivity of l must have one value for each of 1 x 2 tiles"),
        (("tiles", 0, "classes"), [[0, 1]], "tiles of l must have classes from 0 to 0"),
    ],
)
def test_results_have_lists_that_fit_together(where: tuple[str | int, ...], wrong: object, said: str) -> None:
    document: Any = sound_results()
    decode_results(json.dumps(document).encode(), Path("results.json"))
    holder = document
    for key in where[:-1]:
        holder = holder[key]
    holder[where[-1]] = wrong
    with pytest.raises(InputError, match=rf"^results\.json: {re.escape(said)}$"):
        decode_results(json.dumps(document).encode(), Path("results.json"))


def test_a_link_out_of_a_model_folder_is_not_copied_into_a_model_that_may_be_given_away(tmp_path: Path) -> None:
    secret = _file(tmp_path / "key.txt", b"secret")
    model, out = tmp_path / "cache" / "snapshots" / "1", tmp_path / "out"
    model.mkdir(parents=True)
    out.mkdir()
    blobs = tmp_path / "cache" / "blobs"
    blobs.mkdir()
    (model / "tokenizer.json").symlink_to(_file(blobs / "a1", b"{}"))  # as the hub's own cache does
    copy_small_files(model, out)
    assert (out / "tokenizer.json").read_bytes() == b"{}"
    (model / "notes.txt").symlink_to(secret)
    with pytest.raises(
        CheckpointError, match=r"notes\.txt must lie in the model folder, not be a link to .*key\.txt: "
    ):
        copy_small_files(model, out)
    assert not (out / "notes.txt").exists()


def test_a_function_of_pins_that_its_cell_lacks_is_refused() -> None:
    """Found by 50,000 damaged libraries: timing with a library whose cell has other pins ended in a traceback."""
    function = parse_function("A & B")
    assert over_inputs(function, ("B", "A")).tolist() == [0, 0, 0, 1]
    said = r"^a function of pins A, B must be of a cell with them, but this cell's inputs are A, C, without B$"
    with pytest.raises(LibertyError, match=said):
        over_inputs(function, ("A", "C"))
