"""Steps of a job: reused if their inputs are equal, and always inside the output folder."""

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
