"""Write a simulation as a versioned JSON document, a CSV table with one row per layer, and a trace for Perfetto."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from haloquant.accel.results import LayerCost, Simulation
from haloquant.accel.target import Figure, Target
from haloquant.accel.timeline.events import Event, Timeline, timeline
from haloquant.store.atomic_files import content_key

SIMULATION_VERSION = 1
MAX_EVENTS = 250_000  # about 60 MB of trace
TIME_PARTS = ("compute", "dram", "sram", "spmv", "fill", "transition")
ENERGY_PARTS = ("mac", "spmv", "sram", "accumulator", "dram", "leakage", "dvfs")
ORDER_COLUMNS = (
    "number", "start_s", "group", "layers", "frequency_hz", "voltage_v", "first_array", "arrays", "tiles", "row_blocks",
    "cycles", "transitions", "transition_s", "fill_s", "busy_s", "bound",
)  # fmt: skip


class LayerRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One layer. `time_s` and `energy_j` split the totals into parts (`TIME_PARTS`, `ENERGY_PARTS`)."""

    layer: str
    bound: str
    macs: int
    dram_bytes: float
    tiles: int
    row_blocks: int
    time_s: dict[str, float]
    energy_j: dict[str, float]


class SimulationDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pass (prefill or one decoded token) of one system on one machine."""

    format: str
    version: int
    machine_hash: str  # hash of every number of the target as it was used
    system: str
    workload: str
    phase: str
    target: str
    policy: str
    tokens: int
    macs: int
    cycles: int
    transitions: int
    total_time_s: float
    total_energy_j: float
    energy_per_token_j: float
    utilisation: float
    dram_bytes: float
    time_s: dict[str, float]
    energy_j: dict[str, float]
    layers: list[LayerRow]
    figures: dict[str, dict[str, float | str]]
    notes: list[str]


def simulation_document(simulation: Simulation, target: Target) -> SimulationDocument:
    """Return the document of a simulation, to be encoded as JSON."""
    total = simulation.total
    return SimulationDocument(
        format="haloquant.simulation",
        version=SIMULATION_VERSION,
        machine_hash=content_key(msgspec.to_builtins(target, enc_hook=str)),
        system=simulation.system,
        workload=simulation.workload,
        phase=simulation.phase,
        target=simulation.target,
        policy=simulation.policy,
        tokens=simulation.tokens,
        macs=simulation.macs,
        cycles=total.cycles,
        transitions=total.transitions,
        total_time_s=total.total_time_s,
        total_energy_j=total.total_energy_j,
        energy_per_token_j=simulation.energy_per_token_j,
        utilisation=simulation.utilisation,
        dram_bytes=simulation.dram_bytes,
        time_s=dict(total.time_s),
        energy_j=dict(total.energy_j),
        layers=[_row(layer) for layer in simulation.layers],
        figures={path: _figure(made) for path, made in target.figures.items()},
        notes=list(simulation.notes),
    )


def layers_csv(simulations: Sequence[Simulation]) -> str:
    """Return a CSV table with one row per layer of each simulation, and after these a row of totals."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["system", "target", "workload", "phase", "layer", "bound", "macs", "dram_bytes", "tiles"]
        + [f"{part}_s" for part in TIME_PARTS]
        + ["total_s"]
        + [f"{part}_j" for part in ENERGY_PARTS]
        + ["total_j"]
    )
    for run in simulations:
        head = [run.system, run.target, run.workload, run.phase]
        for layer in run.layers:
            row = [layer.layer, layer.bound, layer.macs, layer.dram_bytes, layer.tiles]
            writer.writerow([*head, *row, *_parts(layer.cost.time_s, layer.cost.energy_j)])
        tiles = sum(layer.tiles for layer in run.layers)
        row = ["total", "", run.macs, run.dram_bytes, tiles]
        writer.writerow([*head, *row, *_parts(run.total.time_s, run.total.energy_j)])
    return out.getvalue()


def order_csv(simulation: Simulation) -> str:
    """Return a CSV table with one row per segment: start, tiles, clock, supply and the bound that held.

    A group of tiles that runs once per block of activation rows has one row per segment. `row_blocks` gives the number
    of blocks; the order of the segments alternates between forward and backward from block to block.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(ORDER_COLUMNS)
    for number, part in enumerate(simulation.segments):
        layers = " ".join(simulation.layer_names[layer] for layer in part.layers)
        point = part.point
        writer.writerow(
            [
                number, part.start_s, part.group, layers, point.frequency_hz, point.voltage_v, part.first_array,
                part.arrays, part.tiles, part.blocks, part.cycles, part.transitions, part.transition_s, part.fill_s,
                part.busy_s, part.bound,
            ]
        )  # fmt: skip
    return out.getvalue()


def trace_json(simulation: Simulation, most_events: int = MAX_EVENTS) -> bytes:
    """Return the simulation in the Chrome trace event format, which ui.perfetto.dev opens. Times are microseconds.

    There is one track for each array and one each for DRAM, SRAM and SpMV, one counter of the supply and one of the
    clock. The trace ends after `most_events`, and its title then says which part of the time it covers, because a long
    prompt on a small array has millions of similar steps.
    """
    line = timeline(simulation, most_events)
    if line.complete:
        return msgspec.json.encode(_trace(line))
    said = f"{line.name}, its first {line.end_s:.4g} s of {simulation.time_s:.4g} s"
    return msgspec.json.encode(_trace(replace(line, name=said)))


def _trace(line: Timeline) -> dict[str, object]:
    names = sorted({event.track for event in line.events}, key=_track_order)
    number = {name: i + 1 for i, name in enumerate(names)}
    events: list[dict[str, object]] = [{"ph": "M", "pid": 1, "name": "process_name", "args": {"name": line.name}}]
    for name, tid in number.items():
        events.append({"ph": "M", "pid": 1, "tid": tid, "name": "thread_name", "args": {"name": name}})
        events.append({"ph": "M", "pid": 1, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}})
    events += [_complete(event, number[event.track]) for event in line.events]
    for level in line.levels:
        at = {"ph": "C", "pid": 1, "ts": level.start_s * 1e6}
        suffix = level.track.removeprefix("V/f")
        events.append({**at, "name": f"supply{suffix} (V)", "args": {"V": level.voltage_v}})
        events.append({**at, "name": f"clock{suffix} (GHz)", "args": {"GHz": level.frequency_hz / 1e9}})
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": {"version": SIMULATION_VERSION}}


def _complete(event: Event, tid: int) -> dict[str, object]:
    args = {
        "tiles": event.tiles,
        "bound": event.bound,
        "supply_v": event.voltage_v,
        "clock_ghz": event.frequency_hz / 1e9,
    }
    return {
        "ph": "X",
        "pid": 1,
        "tid": tid,
        "name": event.name,
        "ts": event.start_s * 1e6,
        "dur": event.duration_s * 1e6,
        "args": args,
    }


def _track_order(name: str) -> tuple[int, int, str]:
    kind, _, rest = name.partition(" ")
    return (0, int(rest), "") if kind == "array" else (1, 0, name)


def _parts(time_s: Mapping[str, float], energy_j: Mapping[str, float]) -> list[float]:
    times = [time_s.get(part, 0.0) for part in TIME_PARTS]
    energies = [energy_j.get(part, 0.0) for part in ENERGY_PARTS]
    return [*times, sum(times), *energies, sum(energies)]


def _row(layer: LayerCost) -> LayerRow:
    return LayerRow(
        layer.layer,
        layer.bound,
        layer.macs,
        layer.dram_bytes,
        layer.tiles,
        layer.blocks,
        dict(layer.cost.time_s),
        dict(layer.cost.energy_j),
    )


def _figure(made: Figure) -> dict[str, float | str]:
    value = made.value if made.value != float("inf") else "inf"
    return {"value": value, "unit": made.unit, "source": made.source, "status": made.status}
