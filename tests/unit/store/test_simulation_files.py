"""The files that a simulation is written as."""

import csv
import io
import json
from itertools import pairwise

import msgspec

from haloquant.store.simulation_files import SimulationDocument, layers_csv, simulation_document, trace_json
from support.accel_cases import run_in_blocks, toy_target
from support.near import near


def test_json_is_versioned_and_adds_up() -> None:
    run, target = run_in_blocks()
    read = msgspec.json.decode(msgspec.json.encode(simulation_document(run, target)), type=SimulationDocument)
    assert (read.format, read.version, read.system) == ("haloquant.simulation", 1, "HALO")
    assert read.total_time_s == near(sum(read.time_s.values()))
    for part, value in read.energy_j.items():
        assert value == near(sum(layer.energy_j[part] for layer in read.layers))
    assert read.transitions == run.total.transitions and len(read.machine_hash) == 64
    assert simulation_document(run, toy_target()).machine_hash != read.machine_hash


def test_csv_rows_add_up() -> None:
    run, _ = run_in_blocks()
    rows = list(csv.DictReader(io.StringIO(layers_csv([run, run]))))
    assert len(rows) == 2 * (len(run.layers) + 1)
    first, total = rows[: len(run.layers)], rows[len(run.layers)]
    assert total["layer"] == "total"
    for column in ("total_s", "total_j", "mac_j", "macs", "tiles"):
        assert float(total[column]) == near(sum(float(row[column]) for row in first))


def test_trace_has_the_tracks_and_never_overlaps() -> None:
    run, _ = run_in_blocks()
    trace = json.loads(trace_json(run))
    events = trace["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert list(names.values()) == ["array 0", "array 1", "DRAM", "SRAM", "SpMV"]
    assert {e["name"] for e in events if e["ph"] == "C"} == {"supply (V)", "clock (GHz)"}
    for tid in names:
        spans = sorted((e["ts"], e["dur"]) for e in events if e["ph"] == "X" and e["tid"] == tid)
        assert spans
        for (start, length), (following, _) in pairwise(spans):
            assert start + length <= following + 1e-9
    assert {e["ph"] for e in events} == {"M", "X", "C"}
    assert all(e["ts"] >= 0 and e.get("dur", 0) >= 0 for e in events if e["ph"] != "M")
    end = max(e["ts"] + e["dur"] for e in events if e["ph"] == "X")
    assert end == near(run.time_s * 1e6)
