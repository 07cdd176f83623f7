"""Undamaged input files of every kind, ways to damage them, and the readers of these files.

`tests/property/test_hostile_files.py` and the longer `bench/fuzz_readers.py` use them. A reader gets bytes. If the file
is part of a folder, the other files of that folder are undamaged and lie in a temporary folder of this process.
"""

import atexit
import json
import os
import pickle
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import tomli_w
from safetensors.numpy import save_file

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.ports import MacPorts
from haloquant.circuits.ports_file import parse_ports
from haloquant.errors import (
    CheckpointError,
    FormatError,
    InputError,
    NetlistError,
    ProfileError,
    RecipeError,
    TargetError,
)
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.packed import export_packed
from haloquant.lm.packed.reader import iterate_layers, open_packed
from haloquant.quant.layer import quantize_weight
from haloquant.quant.tiles import make_grid
from haloquant.recipe import example_recipe, parse_recipe
from haloquant.records import Codebook, OperatingPoint, TileMap
from haloquant.report import results
from haloquant.store.atomic_files import sha256_bytes
from haloquant.store.profiles import read_profile, shipped_profiles
from haloquant.store.targets import parse_target
from support.gate_cases import library_text, netlist_json, random_gates
from support.tiny_model import iterate_weights

CONFIG = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 16,
    "tie_word_embeddings": False,
}
ROLES = {
    "self_attn.q_proj": (8, 8),
    "self_attn.k_proj": (8, 8),
    "self_attn.v_proj": (8, 8),
    "self_attn.o_proj": (8, 8),
    "mlp.gate_proj": (12, 8),
    "mlp.up_proj": (12, 8),
    "mlp.down_proj": (8, 12),
}
INDEX = "model.safetensors.index.json"
SHARD = "model-00001-of-00001.safetensors"  # a file called model.safetensors would be read without the index


@dataclass(frozen=True)
class FileReader:
    """One reader of files from outside: undamaged inputs to start from, the function to call, the allowed errors."""

    name: str
    kind: str  # "json", "toml" or "bytes"
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes], object]
    error: type[Exception] | tuple[type[Exception], ...]


def framed(header: bytes, data: bytes) -> bytes:
    """A safetensors file."""
    return len(header).to_bytes(8, "little") + header + data


def unframed(file: bytes) -> tuple[bytes, bytes]:
    """Header and data of a sound safetensors file."""
    end = 8 + int.from_bytes(file[:8], "little")
    return file[8:end], file[end:]


MEMORY = Path("/dev/shm")  # a file system in memory, because a disk would take most of the time


@cache
def scratch() -> Path:
    parent = MEMORY if os.access(MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="haloquant-hostile-", dir=parent))
    atexit.register(shutil.rmtree, folder, True)
    return folder


@cache
def model_folder() -> Path:
    """A sound checkpoint of one block, in one shard that an index names."""
    folder = scratch() / "model"
    folder.mkdir()
    rng = np.random.default_rng(0)
    tensors = {"model.embed_tokens.weight": (16, 8), "model.norm.weight": (8,), "lm_head.weight": (16, 8)}
    tensors |= {f"model.layers.0.{role}.weight": shape for role, shape in ROLES.items()}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in tensors.items()}
    save_file(arrays, folder / SHARD)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(arrays, SHARD)}))
    return folder


@cache
def packed_folder() -> Path:
    """The same model, two of its layers packed."""
    folder = scratch() / "packed"
    books = (
        Codebook("fast", np.array([-8, -2, 0, 2, 8], np.int16), OperatingPoint(1.0, 2e9), 1e-11),
        Codebook("slow", np.arange(-8, 8).astype(np.int16), OperatingPoint(0.9, 1e9), 1e-11),
    )
    checkpoint = open_checkpoint(model_folder(), include=["q_proj", "down_proj"])
    layers = []
    for layer, weight in iterate_weights(checkpoint):
        grid = make_grid(layer.out_features, layer.in_features, 4, 4)
        classes = np.random.default_rng(1).integers(0, 2, (grid.down, grid.across)).astype(np.uint8)
        layers.append(quantize_weight(weight, tiles=TileMap(layer.name, grid, classes), codebooks=books))
    export_packed(checkpoint, layers, folder, profile_name="x", profile_sha256="0" * 64)
    return folder


def _read_plain(folder: Path) -> object:
    return [weight.shape for _, weight in iterate_weights(open_checkpoint(folder))]


def _read_packed(folder: Path) -> object:
    return [layer.codes.shape for layer in iterate_layers(open_packed(folder))]


def _inside(
    sound: Callable[[], Path], file: str, read: Callable[[Path], object], wrap: Callable[[bytes], bytes] = bytes
) -> Callable[[bytes], object]:
    """Read a copy of a sound folder in which one file is the given bytes."""

    @cache
    def place() -> Path:
        return Path(shutil.copytree(sound(), Path(tempfile.mkdtemp(dir=scratch())) / "model"))

    def read_copy(data: bytes) -> object:
        (place() / file).write_bytes(wrap(data))
        return read(place())

    return read_copy


def _of(sound: Callable[[], Path], file: str) -> Callable[[], list[bytes]]:
    return lambda: [(sound() / file).read_bytes()]


def _header(sound: Callable[[], Path]) -> Callable[[], list[bytes]]:
    return lambda: [unframed(next(sound().glob("model*.safetensors")).read_bytes())[0]]


def _with_data(sound: Callable[[], Path]) -> Callable[[bytes], bytes]:
    return lambda header: framed(header, unframed(next(sound().glob("model*.safetensors")).read_bytes())[1])


def _profile_body() -> list[bytes]:
    file = json.loads(next(iter(shipped_profiles().values())).read_bytes())["profile"]
    for corner in file["corners"]:  # a few weights, so that damage hits the rest too
        for row in ("delay_s", "sensitised_delay_s", "energy_j"):
            corner[row] = corner[row][:5]
    file["weights"] = file["weights"][:5]
    file["provenance"] = {"tool": "x"}
    return [json.dumps(file).encode()]


def _read_profile(body: bytes) -> object:
    """A body that carries a checksum of its own, as an attacker would write it."""
    path = scratch() / "x.profile.json"
    head = f'{{"format":"haloquant-profile-1","sha256":"{sha256_bytes(body)}","profile":'
    path.write_bytes(head.encode() + body + b"}")
    return read_profile(path)


def _results() -> list[bytes]:
    classes = [results.ClassRow("fast", [-1, 0, 1], 1.0, 1e9, 0.0)]
    profile = results.ProfileRow("p", "d", "tt", [-1, 0, 1], [1e-9] * 3, [1e-12] * 3, classes)
    costs = [results.CostRow("t", "decode", {"dram": 1.0}, {"mac": 1.0}, 0, {"dram": 1.0})]
    made = results.Results(
        results.RESULTS_VERSION, "demo", 10, 8, "text", 5, profile,
        [results.MethodRow("fp16", "reference", 16.0, 3.0, 3.1, costs)],
        [results.TileRow("halo", "l", [[0, 0]], [[0.5, 0.5]])],
        [results.ParetoRow(0.5, 3.0, 1.0, 1.0)], [results.SpanRow(0.0, 1.0, 0, "fast", 1.0, 1e9)], "halo", {},
    )  # fmt: skip
    return [results.encode_results(made)]


def _targets() -> list[bytes]:
    folder = resources.files("haloquant") / "data" / "targets"
    return [(folder / f"{name}.toml").read_bytes() for name in ("paper_tpu", "h200")]


def _netlist() -> list[bytes]:
    gates, driven = random_gates(0, [2, 3], 8)
    pins = {"weight": ("input", [2]), "activation": ("input", [3]), "result": ("output", driven[-1:])}
    return [netlist_json(pins, gates).encode()]


LIBRARY = parse_liberty(library_text())
TINY = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1)
_PORTS = (
    b'weight = "w"\nweight_bits = 8\nencoding = "twos_complement"\npartial = ""\nclock = "c"\nlatency = 1\n'
    b"[tied]\nmode = 3\n"
)
_EITHER = (CheckpointError, FormatError)

FILE_READERS: tuple[FileReader, ...] = (
    FileReader(
        "shard header",
        "json",
        _header(model_folder),
        _inside(model_folder, SHARD, _read_plain, _with_data(model_folder)),
        CheckpointError,
    ),
    FileReader(
        "shard",
        "bytes",
        _of(model_folder, SHARD),
        _inside(model_folder, SHARD, _read_plain),
        CheckpointError,
    ),
    FileReader("index", "json", _of(model_folder, INDEX), _inside(model_folder, INDEX, _read_plain), CheckpointError),
    FileReader(
        "configuration",
        "json",
        _of(model_folder, "config.json"),
        _inside(model_folder, "config.json", _read_plain),
        CheckpointError,
    ),
    FileReader(
        "packed header",
        "json",
        _header(packed_folder),
        _inside(packed_folder, "model.safetensors", _read_packed, _with_data(packed_folder)),
        _EITHER,
    ),
    FileReader(
        "packed shard",
        "bytes",
        _of(packed_folder, "model.safetensors"),
        _inside(packed_folder, "model.safetensors", _read_packed),
        _EITHER,
    ),
    FileReader(
        "packed configuration",
        "json",
        _of(packed_folder, "config.json"),
        _inside(packed_folder, "config.json", _read_packed),
        _EITHER,
    ),
    FileReader(
        "recipe", "toml", lambda: [example_recipe().encode()], lambda data: parse_recipe(data, "x.toml"), RecipeError
    ),
    FileReader("target", "toml", _targets, parse_target, TargetError),
    FileReader("profile", "json", _profile_body, _read_profile, ProfileError),
    FileReader(
        "results", "json", _results, lambda data: results.decode_results(data, Path("results.json")), InputError
    ),
    FileReader(
        "mac ports", "toml", lambda: [_PORTS], lambda data: parse_ports(data.decode("utf-8", "replace")), NetlistError
    ),
    FileReader(
        "netlist json",
        "json",
        _netlist,
        lambda data: parse_netlist(data.decode("utf-8", "replace"), LIBRARY, TINY),
        NetlistError,
    ),
)

# Values that often break readers: limits of integers, sizes beyond memory, paths out of a folder, empty values.
NASTY: tuple[object, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 255, 256, 65536, 2**31 - 1, 2**31, -(2**31), 2**60, 2**63, 2**64, 10**300),
    *(10**400, 0.5, -0.5, 1e-300, 1e308, -1e308, float("nan"), float("inf"), -float("inf")),
    *("", " ", "../../etc/passwd", "/etc/passwd", "a/b.safetensors", "x\0y", "\x1b[31m", "é", "a" * 5000, "inf", "0"),
    *("F8_E4M3", "BF16", "I8", "U8", "F64", "BOOL", "model.layers.0.../../../../x.weight", "."),
    *([], {}, [[]], [None], [0] * 9, [2**62, 2**62], [0, 2**62, 2**62], {"": {}}, [1, "a"]),
)
TOKENS = (
    *(b"{", b"}", b"(", b")", b'"', b";", b":", b",", b"[", b"]", b"/*", b"*/", b"\\\n", b"'", b"!", b"\x00", b"\xff"),
    *(b"0", b"-1", b"1e999", b"nan", b"inf", b"null", b"true", b"99999999999999999999", b"\\ud800", b"\n"),
    *(b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b"={a" * 2000, b"a." * 2000, b"1979-05-27", b"0x", b"\xed\xa0\x80"),
)


def damage(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """One damaged input: often the document with values exchanged, otherwise its bytes."""
    if kind != "bytes" and rng.random() < 0.6:
        return damage_values(data, kind, rng)
    return damage_bytes(data, rng)


@cache
def _parsed(data: bytes, kind: str) -> bytes:
    """A seed's document, kept in a form that is quick to copy: our own bytes, so pickle may read them."""
    return pickle.dumps(json.loads(data) if kind == "json" else tomllib.loads(data.decode()))


def damage_values(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """The document with one to four values or keys exchanged, removed or added."""
    document = pickle.loads(_parsed(data, kind))
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        _change(document, rng)
    if kind == "json":
        return json.dumps(document, ensure_ascii=bool(rng.integers(2))).encode()  # NaN is written as such
    try:
        return tomli_w.dumps(document).encode()
    except (TypeError, ValueError):  # TOML has no null
        return damage_bytes(data, rng)


def _change(document: object, rng: np.random.Generator) -> None:
    holder = document
    while isinstance(holder, dict | list) and holder:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = keys[int(rng.integers(len(keys)))]
        inner = holder[key]  # type: ignore[index]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.85:
            holder = inner
            continue
        what, nasty = int(rng.integers(5)), NASTY[int(rng.integers(len(NASTY)))]
        if what == 0:
            del holder[key]  # type: ignore[attr-defined]
        elif what == 1 and isinstance(holder, dict):
            holder[nasty if isinstance(nasty, str) else f"extra{what}"] = inner
        else:
            holder[key] = json.loads(json.dumps(nasty))  # type: ignore[index]
        return


def damage_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Mostly one, up to eight cuts, copies, changed bytes, or tokens put in."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 4, 8]))):
        a, b = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        match int(rng.integers(6)):
            case 0:
                data = data[:a]
            case 1:
                data = data[:a] + data[min(b, a + 40) :]
            case 2:
                data = data[:a] + data[a : min(b, a + 200)] * int(rng.integers(2, 5)) + data[a:]
            case 3:
                data = data[:a] + bytes([int(rng.integers(256))]) + data[a + 1 :]
            case _:
                data = data[:a] + TOKENS[int(rng.integers(len(TOKENS)))] + data[a:]
        data = data[: 1 << 16]
    return data


def nested(depth: int, kind: str) -> bytes:
    """A document of nothing but brackets."""
    return b"[" * depth + b"]" * depth if kind == "json" else b"x = " + b"[" * depth + b"]" * depth
