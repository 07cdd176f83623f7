"""A timeline that is cut short."""

import json

from haloquant.accel.simulation import simulate
from haloquant.accel.timeline.events import timeline
from haloquant.dvfs.schedule import plan
from haloquant.store.simulation_files import trace_json
from support.accel_cases import BASE, MIDDLE, TOP, random_tiles, tiny_workload, toy_profile, toy_target
from support.near import near


def _run():
    workload = tiny_workload(30, attention=True)
    tiles = random_tiles(workload, 1)
    target = toy_target(count=2)
    schedule = plan(workload.gemms, tiles, (BASE, MIDDLE, TOP), BASE, "serpentine", 1500.0)
    assert max(schedule.row_blocks.values()) > 2
    return simulate(workload, tiles, schedule, target, toy_profile(), system="HALO"), target


def test_a_trace_of_very_many_steps_is_their_begin_and_says_so() -> None:
    run, _ = _run()
    whole, begin = timeline(run), timeline(run, most_events=9)
    assert whole.complete and not begin.complete
    assert 9 <= len(begin.events) < len(whole.events)
    assert begin.events == whole.events[: len(begin.events)]
    assert begin.end_s == near(max(event.start_s + event.duration_s for event in begin.events))
    title = json.loads(trace_json(run, most_events=9))["traceEvents"][0]["args"]["name"]
    assert title.endswith(f", its first {begin.end_s:.4g} s of {run.time_s:.4g} s")
