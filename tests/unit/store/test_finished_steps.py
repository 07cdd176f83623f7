"""Steps of a job: reused if their inputs are equal, and always inside the output folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from haloquant.errors import InputError
from haloquant.store.finished_steps import Steps


def test_steps_are_reused_by_content(tmp_path: Path) -> None:
    made: list[int] = []

    def make(folder: Path) -> None:
        made.append(1)
        (folder / "out").write_text("x")

    steps = Steps(tmp_path, {"haloquant": "1"})
    first, reused_first = steps.run("quantize", {"seed": 0}, make)
    second, reused_second = steps.run("quantize", {"seed": 0}, make)
    third, _ = steps.run("quantize", {"seed": 1}, make)
    assert (reused_first, reused_second, len(made)) == (False, True, 2)
    assert first == second != third


def test_a_step_stays_in_its_folder(tmp_path: Path) -> None:
    def never(folder: Path) -> None:
        raise AssertionError(folder)

    for name in ("../x", "/tmp/x", "layer-a/../../../x"):
        with pytest.raises(InputError, match=r"^a step's name must be that of a folder in "):
            Steps(tmp_path / "steps", {}).run(name, 1, never)


def test_a_step_that_was_forgotten_is_made_again(tmp_path: Path) -> None:
    steps = Steps(tmp_path, {})
    folder, _ = steps.run("a", 1, lambda made: (made / "out").touch())
    assert steps.find("a", 1) == folder
    steps.forget("a", 1)
    assert steps.find("a", 1) is None


AT_ONCE = """
import sys, pathlib, random, time
from haloquant.store.finished_steps import Steps
root, start, seed = pathlib.Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)
def make(folder):
    for name in ("a", "b", "c"):
        (folder / name).write_text(name * 1000)
        time.sleep(draw.random() / 2000)
steps = Steps(root, {})
time.sleep(max(0.0, start - time.time()))
for step in range(60):
    found, _ = steps.run("step", step, make)
    for name in ("a", "b", "c"):
        assert (found / name).read_text() == name * 1000
    if draw.random() < 0.2:
        steps.run("damaged", step % 5, make)
        try:
            (steps.find("damaged", step % 5) / "a").write_text("damaged")
        except (TypeError, FileNotFoundError):
            pass  # another process damaged it first, or is replacing it
    if draw.random() < 0.2:
        steps.forget("passing", step % 5)
        steps.run("passing", step % 5, make)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_processes_that_make_the_same_steps_at_once_all_read_complete_ones(tmp_path: Path) -> None:
    import time

    start = str(time.time() + 1.0)
    many = [
        subprocess.Popen([sys.executable, "-c", AT_ONCE, str(tmp_path), start, str(seed)], stderr=subprocess.PIPE)
        for seed in range(4)
    ]
    assert [process.communicate()[1].decode()[-2000:] for process in many] == [""] * 4
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert sum(p.name.startswith("step-") for p in tmp_path.iterdir()) == 60
