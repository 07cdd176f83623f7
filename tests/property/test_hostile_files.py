"""Damaged files of every kind: only our own errors with a sentence, in bounded time and memory.

A longer run of the same kind is `bench/fuzz_readers.py`.
"""

import os
import resource
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads

from haloquant.circuits.netlist.yosys_json import read_module
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
from haloquant.lm.checkpoint.model_config import read_config
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.checkpoint.safetensors import read_header
from haloquant.lm.packed.reader import open_packed
from haloquant.recipe import parse_recipe, read_recipe
from haloquant.report.results import decode_results
from haloquant.store.atomic_files import MANIFEST, is_finished
from haloquant.store.profiles import read_profile
from haloquant.store.targets import parse_target
from support.hostile_files import FILE_READERS, FileReader, damage, framed, nested

INPUTS = {"packed shard": 25, "packed header": 25, "packed configuration": 25}
MOST_BYTES = 1 << 30
SLOWEST_S = 2.0


@contextmanager
def bounded_memory() -> Iterator[None]:
    """No more address space than now and a GiB: an allocation that a file's claims ask for fails at once."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Layers are tiny: starting threads would take the most time."""
    before = get_num_threads()
    set_num_threads(1)
    yield
    set_num_threads(before)


@pytest.mark.parametrize("reader", FILE_READERS, ids=[reader.name.replace(" ", "_") for reader in FILE_READERS])
def test_a_damaged_file_is_read_or_refused(reader: FileReader) -> None:
    rng = np.random.default_rng(0)
    seeds = list(reader.seeds())
    for seed in seeds:
        reader.read(seed)  # compiled and sound
    refused = 0
    with bounded_memory():
        for index in range(INPUTS.get(reader.name, 100)):
            data = damage(seeds[index % len(seeds)], reader.kind, rng)
            began = time.process_time()
            try:
                reader.read(data)
            except reader.error as error:
                assert str(error).strip()
                refused += 1
            assert time.process_time() - began < SLOWEST_S
    assert refused > 5  # the damage does something


@pytest.mark.parametrize("reader", FILE_READERS, ids=[reader.name.replace(" ", "_") for reader in FILE_READERS])
@pytest.mark.parametrize("depth", [500, 200_000])
def test_brackets_within_brackets_are_refused(reader: FileReader, depth: int) -> None:
    with bounded_memory(), pytest.raises(reader.error):
        reader.read(nested(depth, reader.kind))


@pytest.mark.parametrize(
    "reader", [d for d in FILE_READERS if d.kind == "json"], ids=lambda reader: reader.name.replace(" ", "_")
)
def test_memory_stays_in_proportion_to_the_file(reader: FileReader) -> None:
    data = b'{"modules": [' + b"[]," * 100_000 + b"[]]}"
    tracemalloc.start()
    try:
        with pytest.raises(reader.error):
            reader.read(data)
        assert tracemalloc.get_traced_memory()[1] < 60 * len(data)
    finally:
        tracemalloc.stop()


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
    with pytest.raises(ProfileError, match=r"x must be a MAC profile: "):
        read_profile(_file(tmp_path / "x", data))
    with pytest.raises(CheckpointError, match=r"must be a safetensors file, but its header is damaged: "):
        read_header(_file(tmp_path / "x.safetensors", framed(data, b"")))
    with pytest.raises(CheckpointError, match=r"config\.json must "):
        _file(tmp_path / "config.json", data)
        open_checkpoint(tmp_path)
    with pytest.raises((FormatError, CheckpointError), match=r"config\.json must be |must be a packed model"):
        open_packed(tmp_path)
    if data is not BAD_UTF8:
        with pytest.raises(CheckpointError, match=r"config\.json must be the JSON"):
            read_config(tmp_path)
    with pytest.raises(NetlistError, match=r"^a netlist must be JSON as Yosys' write_json writes it"):
        read_module(data.decode("utf-8", "replace"))
    _file(tmp_path / MANIFEST, data)
    assert not is_finished(tmp_path, "key")


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


def test_a_named_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "recipe.toml"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"config\.json must be a regular file, and is not$"):
        open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors must be a regular file, and is not$"):
        read_header(tmp_path / "model.safetensors")
    with pytest.raises(RecipeError, match=r"recipe\.toml must be a regular file, and is not"):
        read_recipe(tmp_path / "recipe.toml")
