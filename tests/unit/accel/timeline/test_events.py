"""A timeline that is cut short."""

import json

from haloquant.accel.timeline.events import timeline
from haloquant.store.simulation_files import trace_json
from support.accel_cases import run_in_blocks
from support.near import near


def test_a_trace_of_very_many_steps_is_their_begin_and_says_so() -> None:
    run, _ = run_in_blocks()
    whole, begin = timeline(run), timeline(run, most_events=9)
    assert whole.complete and not begin.complete
    assert 9 <= len(begin.events) < len(whole.events)
    assert begin.events == whole.events[: len(begin.events)]
    assert begin.end_s == near(max(event.start_s + event.duration_s for event in begin.events))
    title = json.loads(trace_json(run, most_events=9))["traceEvents"][0]["args"]["name"]
    assert title.endswith(f", its first {begin.end_s:.4g} s of {run.time_s:.4g} s")
