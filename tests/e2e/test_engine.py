"""Engines give the same results in the same order, and a lost worker loses no work."""

from pathlib import Path

import pytest

from haloquant.errors import InputError, ToolError
from haloquant.jobs.engine.session import run_tasks
from haloquant.jobs.engine.tasks import Engine
from support.engine_tasks import always_die, die_once, refuse, square


@pytest.mark.parametrize("engine", [Engine(), Engine(workers=2)], ids=["here", "pool"])
def test_results_come_in_order(engine: Engine) -> None:
    seen: list[tuple[int, int]] = []
    assert run_tasks(square, range(5), engine, lambda d, t: seen.append((d, t))) == [0, 1, 4, 9, 16]
    assert seen == [(i + 1, 5) for i in range(5)]


def test_a_killed_worker_of_the_pool_is_replaced(tmp_path: Path) -> None:
    tasks = [(str(tmp_path), x) for x in range(5)]
    assert run_tasks(die_once, tasks, Engine(workers=2)) == [0, 1, 4, 9, 16]
    assert (tmp_path / "died").exists()


def test_our_errors_pass_through_the_pool() -> None:
    with pytest.raises(InputError, match=r"[01] must be something else"):
        run_tasks(refuse, range(2), Engine(workers=2))


def test_a_task_that_always_kills_its_worker_is_given_up() -> None:
    with pytest.raises(ToolError, match="worker processes were killed 3 times"):
        run_tasks(always_die, range(2), Engine(workers=2))
