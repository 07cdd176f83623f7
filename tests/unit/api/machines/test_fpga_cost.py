"""Constant multipliers of a model's words, from the API and the command."""

import json

import pytest

from haloquant.api import map_to_fpga
from haloquant.api.machines import fpga_cost
from haloquant.api.machines.fpga_cost import ConstantMultiplierRow
from haloquant.cli.app import invoke
from haloquant.errors import InputError


@pytest.mark.seldom
def test_every_class_of_words_has_its_row() -> None:
    rows = map_to_fpga("llama2-7b", outputs=1, inputs=1, progress=False)
    assert [row.words for row in rows] == [
        "8-bit integers", "4-bit integers", "fast class, 9 words", "slow class, 16 words",
    ]  # fmt: skip
    assert all(row.weights == 1 and row.luts >= 0 for row in rows)


def test_blocks_that_there_are_not() -> None:
    for wrong in ({"outputs": 0}, {"inputs": 5000}, {"activation_bits": 17}, {"seed": -1}):
        with pytest.raises(InputError, match="must be"):
            map_to_fpga("llama2-7b", **wrong)


def test_the_command_prints_them(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    row = ConstantMultiplierRow("nine", 64, 60, 500, 450, 0.9, 100, 8, 1.08)
    monkeypatch.setattr(fpga_cost, "map_constant_multipliers", lambda *_: [row])
    assert invoke(["elements", "llama2-7b", "--ebops", "-q"]) == 0
    assert "100 + 8" in capfd.readouterr().out
    assert invoke(["elements", "llama2-7b", "--ebops", "--json", "-q"]) == 0
    assert json.loads(capfd.readouterr().out)["rows"][0]["luts"] == 450
