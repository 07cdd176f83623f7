"""Timeline of a pass as events on tracks, for a trace viewer: each array, DRAM, on-chip memory, sparse engine, supply.

A group that is cut into blocks of rows appears once per block, alternately forward and backward.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from haloquant.accel.results import Segment, Simulation


@dataclass(frozen=True, slots=True)
class Event:
    """One bar of a trace. Events of one track never overlap."""

    track: str
    name: str
    start_s: float
    duration_s: float
    tiles: int
    bound: str
    voltage_v: float
    frequency_hz: float


@dataclass(frozen=True, slots=True)
class SupplyLevel:
    """Supply and clock from `start_s` on. The track of an island is named after its first array."""

    track: str
    start_s: float
    voltage_v: float
    frequency_hz: float


@dataclass(frozen=True)
class Timeline:
    """Events and supply levels of one pass in order of time, up to `end_s`. `complete`: no events were left out."""

    name: str
    events: tuple[Event, ...]
    levels: tuple[SupplyLevel, ...]
    end_s: float
    complete: bool = True


def timeline(simulation: Simulation, most_events: int | None = None) -> Timeline:
    """Return the events of a pass. The last one ends at the time of the pass.

    Args:
        simulation: One pass.
        most_events: The timeline ends after the step at which it has this many events. None means no limit.
    """
    events: list[Event] = []
    levels: list[SupplyLevel] = []
    clock = 0.0
    names = simulation.layer_names
    for _, members in groupby(simulation.segments, key=lambda segment: segment.group):
        for together, transition_s, share in _unfolded(list(members)):
            if most_events is not None and len(events) >= most_events:
                return Timeline(_name(simulation), tuple(events), tuple(levels), clock, complete=False)
            first = together[0]
            if transition_s > 0:
                events += [_event(name, "transition", clock, transition_s, first, 0) for name in _tracks(first)]
                clock += transition_s
            for segment in together:
                track = "V/f" if len(together) == 1 else f"V/f arrays from {segment.first_array}"
                levels.append(SupplyLevel(track, clock, segment.point.voltage_v, segment.point.frequency_hz))
            if first.fill_s > 0 and share[1]:
                events.append(_event("DRAM", "first fill", clock, first.fill_s, first, 0))
                clock += first.fill_s
            for segment in together:
                label = _label(segment, names)
                seconds = segment.compute_s * share[0]
                if seconds > 0:
                    tracks = _tracks(segment)
                    events += [_event(track, label, clock, seconds, segment, segment.tiles) for track in tracks]
            for track, seconds in (("DRAM", first.dram_s), ("SRAM", first.sram_s), ("SpMV", first.spmv_s)):
                if seconds > 0:
                    events.append(_event(track, _label(first, names), clock, seconds * share[0], first, first.tiles))
            clock += first.busy_s * share[0]
    return Timeline(_name(simulation), tuple(events), tuple(levels), clock)


def _name(simulation: Simulation) -> str:
    return f"{simulation.system} {simulation.workload} on {simulation.target}"


def _unfolded(members: Sequence[Segment]) -> Iterator[tuple[list[Segment], float, tuple[float, bool]]]:
    """Steps of one group in the order in which they run, block by block.

    Each item is (segments that run at once, transition before in s, (share of the segments' time, first block or not)).
    """
    steps = [list(part) for _, part in groupby(members, key=lambda segment: segment.start_s)]
    blocks = steps[0][0].blocks
    for block in range(blocks):
        order = steps if block % 2 == 0 else steps[::-1]
        for place, step in enumerate(order):
            segment = step[0]
            switch = 0.0
            if block == 0 and place == 0:
                switch = segment.transition_s
            elif place > 0:
                crossed = max(step, order[place - 1], key=steps.index)[
                    0
                ]  # the later of the two in the forward direction
                switch = crossed.transition_s / blocks
            yield step, switch, (1.0 / blocks, block == 0)


def _event(track: str, name: str, start_s: float, duration_s: float, segment: Segment, tiles: int) -> Event:
    point = segment.point
    return Event(track, name, start_s, duration_s, tiles, segment.bound, point.voltage_v, point.frequency_hz)


def _tracks(segment: Segment) -> list[str]:
    return [f"array {number}" for number in range(segment.first_array, segment.first_array + segment.arrays)]


def _label(segment: Segment, names: Sequence[str]) -> str:
    """The names of a segment's layers, the first in full and the others by their last part."""
    first = names[segment.layers[0]]
    rest = [names[layer].rsplit(".", 1)[-1] for layer in segment.layers[1:]]
    return ", ".join([first, *rest])
