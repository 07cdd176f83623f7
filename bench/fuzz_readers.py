"""Give damaged files to every file reader, for as long as wanted; print one line of JSON for each reader.

    python bench/fuzz_readers.py [--seconds 3600 | --inputs 100000] [--seed 0] [reader ...]

A reader may return, or raise its own error with a message. Any other error, more than a second per megabyte, or memory
out of proportion to the input is a finding, and the input is written to the folder of --keep. To add a reader, add a
`FileReader` to `READERS`, or to `tests/support/hostile_files.py` if the short test should include it. `--inputs` counts
inputs per reader.
"""

import argparse
import json
import math
import resource
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numba import set_num_threads

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from haloquant.circuits.liberty.boolean_functions import parse_function
from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.ports import MacPorts
from haloquant.circuits.ports_file import parse_ports
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.errors import HaloquantError, LibertyError, NetlistError
from haloquant.store.cell_library_codec import decode_library, encode_library
from support.gate_cases import library_text, netlist_json, random_gates
from support.hostile_files import FILE_READERS, FileReader, damage

SLOWEST_S = 2.0  # for inputs of at most a few tens of kilobytes
MOST_BYTES = 512 << 20


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _libraries() -> list[bytes]:
    return [library_text().encode()]


def _netlists() -> list[bytes]:
    seeds: list[bytes] = []
    for seed in range(3):
        gates, driven = random_gates(seed, [2, 3], 12)
        pins = {"weight": ("input", [2]), "activation": ("input", [3]), "result": ("output", driven[-1:])}
        seeds.append(netlist_json(pins, gates).encode())
    return seeds


LIBRARY = parse_liberty(library_text())
TINY = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1)
_FUNCTIONS = [b"(A1 & A2) | B", b"!(A ^ B') + C D", b"((A))"]
_PORTS = [b'weight = "w"\nweight_bits = 8\npartial = ""\nlatency = 1\n[tied]\nmode = 3\n']


def _time(data: bytes) -> object:
    return static_delays(parse_netlist(_text(data), LIBRARY, TINY), LIBRARY)


def _time_library(data: bytes) -> object:
    """A damaged library is read, and what can be read is timed with."""
    return static_delays(parse_netlist(_text(_netlists()[0]), LIBRARY, TINY), parse_liberty(_text(data)))


READERS: tuple[FileReader, ...] = (
    FileReader("liberty", "bytes", _libraries, lambda data: parse_liberty(_text(data)), LibertyError),
    FileReader("liberty function", "bytes", lambda: _FUNCTIONS, lambda data: parse_function(_text(data)), LibertyError),
    FileReader("liberty, timed", "bytes", _libraries, _time_library, (LibertyError, NetlistError)),
    FileReader("netlist, timed", "bytes", _netlists, _time, NetlistError),
    FileReader("ports", "bytes", lambda: _PORTS, lambda data: parse_ports(_text(data)), NetlistError),
    FileReader(
        "library cache",
        "bytes",
        lambda: [encode_library(LIBRARY)],
        decode_library,
        (ValueError, TypeError, IndexError, KeyError, RecursionError),
    ),
    *FILE_READERS,
)


def fuzz(
    reader: FileReader, seeds: Sequence[bytes], seconds: float, inputs: int, seed: int, keep: Path | None
) -> dict[str, Any]:
    """Damage and read until the time is over or the inputs are done."""
    rng = np.random.default_rng(seed)
    counts = {"inputs": 0, "returned": 0, "refused": 0, "findings": 0}
    slowest, first = 0.0, ""
    end = time.monotonic() + seconds
    while time.monotonic() < end and counts["inputs"] < inputs:
        data = damage(seeds[int(rng.integers(len(seeds)))], reader.kind, rng)
        began = time.process_time()
        finding = ""
        try:
            reader.read(data)
            counts["returned"] += 1
        except reader.error as error:
            counts["refused"] += 1
            if isinstance(error, HaloquantError) and not str(error).strip():
                finding = "an error without a sentence"
        except Exception:
            finding = traceback.format_exc()
        took = time.process_time() - began
        slowest = max(slowest, took)
        if took > SLOWEST_S:
            finding = finding or f"{took:.1f} s for {len(data)} bytes"
        counts["inputs"] += 1
        if finding:
            counts["findings"] += 1
            first = first or finding
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{reader.name.replace(' ', '_')}-{seed}-{counts['inputs']}").write_bytes(data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if peak > MOST_BYTES:
        counts["findings"] += 1
        first = first or f"{peak:,} bytes of memory"
    return {**counts, "slowest_s": round(slowest, 3), "peak_bytes": peak, "first_finding": first}


def main() -> None:
    """Run all readers or those named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, help="in all; 3600 where no --inputs are given")
    parser.add_argument("--inputs", type=int, help="for each reader, such as 100000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for inputs that showed something")
    parser.add_argument("readers", nargs="*", help=", ".join(reader.name for reader in READERS))
    asked = parser.parse_args()
    chosen = [reader for reader in READERS if not asked.readers or reader.name in asked.readers]
    seconds = asked.seconds or (3600.0 if asked.inputs is None else math.inf)
    inputs = asked.inputs or sys.maxsize
    set_num_threads(1)
    seeds = {reader.name: tuple(reader.seeds()) for reader in chosen}
    for reader in chosen:
        for data in seeds[reader.name]:
            reader.read(data)  # compiled before memory is counted
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MOST_BYTES, resource.RLIM_INFINITY))
    each = seconds / max(1, len(chosen))
    findings = 0
    for reader in chosen:  # one line of JSON each, so that a run that is stopped has said what it did
        result = fuzz(reader, seeds[reader.name], each, inputs, asked.seed, asked.keep)
        findings += result["findings"]
        print(json.dumps({"reader": reader.name, **result}), flush=True)
    sys.exit(findings > 0)


if __name__ == "__main__":
    main()
