"""What stages take: time and memory given to the stage that is open, tasks of workers beside this process's own."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from haloquant.jobs.engine.metering import Meter, StageUsage, TaskUsage, metered, peak_memory, usage_table


def double(argument: int, arrays: dict[str, np.ndarray]) -> tuple[int, dict[str, np.ndarray]]:
    return 2 * argument, arrays


def test_a_stage_within_a_stage_counts_as_itself_alone() -> None:
    meter = Meter()
    began = time.monotonic()
    with meter.stage("outer"):
        time.sleep(0.02)
        with meter.stage("inner"):
            time.sleep(0.05)
        time.sleep(0.02)
    with meter.stage("inner"):
        time.sleep(0.05)
    took = time.monotonic() - began
    used = {x.stage: x for x in meter.usage()}
    assert list(used) == ["outer", "inner"]
    assert used["outer"].seconds >= 0.04
    assert used["inner"].seconds >= 0.1
    assert used["outer"].seconds + used["inner"].seconds <= took


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel keeps no mark that can be set back")
def test_the_peak_is_that_of_the_stage() -> None:
    meter = Meter()
    with meter.stage("much"):
        np.ones(1 << 25)  # 256 MiB, touched and let go
    with meter.stage("little"):
        np.ones(1 << 10)
    much, little = meter.usage()
    assert much.driver_b - little.driver_b > 200e6
    assert meter.most_b >= much.driver_b
    assert peak_memory() < much.driver_b


def test_a_task_says_what_it_took_and_hands_on_what_it_made() -> None:
    given = {"x": np.ones(2)}
    (plain, used), made = metered((double, 21), given)
    assert (plain, made) == (42, given)
    assert used.process == os.getpid()
    assert used.cpu_s >= 0
    assert used.peak_b > 1e6


def test_a_workers_time_is_added_and_ones_own_is_not_counted_twice() -> None:
    meter = Meter()
    with meter.stage("quantize"):
        meter.add("q_proj", 100, TaskUsage(os.getpid(), 50.0, 9e15))
        meter.add("q_proj", 100, TaskUsage(-1, 2.0, 3e9))
        meter.add("k_proj", 10, TaskUsage(-1, 1.0, 2e9))
    whole, k, q = meter.usage()
    assert whole.cpu_s == pytest.approx(3.0, abs=1.0)
    assert whole.worker_b == 3e9
    assert (k.kind, k.cpu_s, k.weights) == ("k_proj", 1.0, 10)
    assert (q.kind, q.cpu_s, q.weights, q.worker_b) == ("q_proj", 52.0, 200, 3e9)


def test_as_plain_values_kinds_stand_within_their_stage() -> None:
    spent = (
        StageUsage("pack", seconds=1.0, cpu_s=0.5, driver_b=7.0),
        StageUsage("pack", "q_proj", cpu_s=0.25, weights=3),
    )
    assert usage_table(spent) == [
        {
            "stage": "pack",
            "seconds": 1.0,
            "cpu_seconds": 0.5,
            "peak_bytes": 7.0,
            "worker_peak_bytes": 0.0,
            "kinds": {"q_proj": {"cpu_seconds": 0.25, "weights": 3}},
        }
    ]
