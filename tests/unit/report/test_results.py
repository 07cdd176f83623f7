"""Results read back: lists that belong together have the same length."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from haloquant.errors import InputError
from haloquant.report.results import decode_results
from haloquant.report.tables import new_silicon_caption, new_silicon_table


def _sound_results() -> dict[str, object]:
    row = {"name": "fast", "values": [0, 1], "voltage_v": 1.0, "frequency_hz": 1e9, "slack_s": 0.0}
    weights = {"weights": [-1, 0, 1], "delay_s": [1e-9] * 3, "energy_j": [1e-12] * 3}
    profile = {"name": "p", "description": "d", "corner": "tt", **weights, "classes": [row]}
    tile = {"method": "halo", "layer": "l", "classes": [[0, 0]], "sensitivity": [[0.5, 0.5]]}
    return {
        "version": 1, "model": "m", "parameters": 1, "linear_weights": 1, "evaluation": "t", "evaluation_tokens": 1,
        "profile": profile, "methods": [], "tiles": [tile], "pareto": [], "timeline": [], "timeline_of": "",
        "provenance": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("where", "wrong", "said"),
    [
        (("profile", "delay_s"), [1e-9], "profile.delay_s must have 3 values, one for each weight, not 1"),
        (("profile", "energy_j"), [], "profile.energy_j must have 3 values, one for each weight, not 0"),
        (("profile", "classes", 0, "values"), [0, 5], "class fast must have words of profile.weights, not 5"),
        (("tiles", 0, "classes"), [[0], [0, 0]], "tiles of l must have rows of one length"),
        (("tiles", 0, "sensitivity"), [[0.5]], "sensitivity of l must have one value for each of 1 x 2 tiles"),
        (("tiles", 0, "classes"), [[0, 1]], "tiles of l must have classes from 0 to 0"),
    ],
)
def test_results_have_lists_that_fit_together(where: tuple[str | int, ...], wrong: object, said: str) -> None:
    document: Any = _sound_results()
    decode_results(json.dumps(document).encode(), Path("results.json"))
    holder = document
    for key in where[:-1]:
        holder = holder[key]
    holder[where[-1]] = wrong
    with pytest.raises(InputError, match=rf"^results\.json: {re.escape(said)}$"):
        decode_results(json.dumps(document).encode(), Path("results.json"))


def test_ratios_at_equal_area_have_their_base() -> None:
    document: Any = _sound_results()
    row = {
        "target": "t", "phase": "decode", "system": "W4A8", "element": "e", "columns": 1, "frequency_hz": [1e9],
        "time_s": 1.0, "energy_j": 1.0, "bound": "dram",
    }  # fmt: skip
    found = {"method": "halo-bal", "target": "t", "area_mm2": 1.0, "plain": "e", "rows": [row], "notes": []}
    document["new_silicon"] = [found]
    with pytest.raises(InputError, match=r"new_silicon of t must have a row of W8A8 in every phase$"):
        decode_results(json.dumps(document).encode(), Path("results.json"))
    found["rows"].append(row | {"system": "W8A8", "time_s": 2.0, "energy_j": 4.0})
    (silicon,) = decode_results(json.dumps(document).encode(), Path("results.json")).new_silicon
    assert [row.cells[-3:-1] for row in new_silicon_table(silicon).rows] == [("2.00×", "0.25"), ("1.00×", "1.00")]
    assert new_silicon_caption(silicon).startswith("New silicon on t: 1 mm² of arrays for every system")
    found["rows"].pop()
    found["left_out"] = [{"system": "W8A8", "element": "e", "least_area_mm2": 2.0, "whole_system": True}]
    (silicon,) = decode_results(json.dumps(document).encode(), Path("results.json")).new_silicon
    assert [row.cells[-3:] for row in new_silicon_table(silicon).rows] == [
        ("–", "–", "dram"), ("–", "–", "left out: one column in each array takes 2 mm²"),
    ]  # fmt: skip
