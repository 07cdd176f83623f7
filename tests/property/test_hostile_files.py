"""Damaged files of every kind: only our own errors with a sentence, in bounded time and memory.

A longer run of the same kind is `bench/fuzz_readers.py`.
"""

import resource
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads

from support.hostile_files import DOORS, Door, damage, nested

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


@pytest.mark.parametrize("door", DOORS, ids=[door.name.replace(" ", "_") for door in DOORS])
def test_a_damaged_file_is_read_or_refused(door: Door) -> None:
    rng = np.random.default_rng(0)
    seeds = list(door.seeds())
    for seed in seeds:
        door.read(seed)  # compiled and sound
    refused = 0
    with bounded_memory():
        for index in range(INPUTS.get(door.name, 100)):
            data = damage(seeds[index % len(seeds)], door.kind, rng)
            began = time.process_time()
            try:
                door.read(data)
            except door.error as error:
                assert str(error).strip()
                refused += 1
            assert time.process_time() - began < SLOWEST_S
    assert refused > 5  # the damage does something


@pytest.mark.parametrize("door", DOORS, ids=[door.name.replace(" ", "_") for door in DOORS])
@pytest.mark.parametrize("depth", [500, 200_000])
def test_brackets_within_brackets_are_refused(door: Door, depth: int) -> None:
    with bounded_memory(), pytest.raises(door.error):
        door.read(nested(depth, door.kind))


@pytest.mark.parametrize("door", [d for d in DOORS if d.kind == "json"], ids=lambda door: door.name.replace(" ", "_"))
def test_memory_stays_in_proportion_to_the_file(door: Door) -> None:
    data = b'{"modules": [' + b"[]," * 100_000 + b"[]]}"
    tracemalloc.start()
    try:
        with pytest.raises(door.error):
            door.read(data)
        assert tracemalloc.get_traced_memory()[1] < 60 * len(data)
    finally:
        tracemalloc.stop()
