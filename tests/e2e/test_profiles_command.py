"""`haloquant profiles`: the list with both ratios, one MAC with its operating points, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from haloquant.api.macs.profiles import figures_of
from haloquant.cli.app import app
from haloquant.errors import InfeasibleError, InputError, ProfileError
from haloquant.store.profiles import fastest_for_any_value, find_profile, read_profile, shipped_profiles

MANY_VOLTAGES = "sky130hd-digitsdadda_ks+lone-mul-abc"
NINE = "0,8,-8,16,-16,32,-32,64,-64"


def asked(*words: str) -> str:
    result = CliRunner().invoke(app, ["profiles", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_mac_is_listed_with_its_own_and_its_absolute_ratio() -> None:
    rows = json.loads(asked("--json"))
    assert set(rows) == set(shipped_profiles())
    ripple, default = rows["asap7-sxarray_rca-mul-fa"], rows["asap7-digitsdadda_ks+both-mul-abc"]
    # A ripple array: a larger ratio to itself, and slower than a good multiplier at all values.
    assert ripple["ratio_9"] > default["ratio_9"] and ripple["absolute_9"] < 1 < default["absolute_9"]
    best = find_profile("asap7-digitsdadda_ks-mul-abc").delay_s[0].max()
    nine = np.sort(find_profile("default").delay_s[0])[8]
    assert default["absolute_9"] == pytest.approx(best / nine)
    assert "absolute" in asked() and "(default)" in asked()


def test_a_mac_of_an_unknown_library_is_compared_with_no_other() -> None:
    known = {name: read_profile(path) for name, path in shipped_profiles().items()}
    mine = replace(find_profile("default"), name="mine", provenance={"library": "my_cells"})
    assert fastest_for_any_value(mine, known.values()) is mine
    assert figures_of(mine).absolute_ratio is None
    same, shipped = figures_of(replace(find_profile("default"), name="mine")), figures_of(find_profile("default"))
    assert same.absolute_ratio is not None and shipped.absolute_ratio is not None
    assert same.absolute_ratio[9] == pytest.approx(shipped.absolute_ratio[9])


def test_an_operating_point_is_found_from_a_period_from_values_and_from_a_clock() -> None:
    profile = find_profile("default")
    (point,) = json.loads(asked("-p", "default", "--period-ps", "200", "--json"))["points"]
    assert point["words"] == profile.weights[profile.delay_s[0] <= 200e-12].tolist()
    (point,) = json.loads(asked("-p", "default", "--words", NINE, "--json"))["points"]
    held = np.isin(profile.weights, [int(word) for word in NINE.split(",")])
    assert point["period_ps"] == pytest.approx(profile.delay_s[0][held].max() * 1e12)
    low, high = (
        json.loads(asked("-p", MANY_VOLTAGES, *words, "--clock-mhz", "400", "--json"))["least_voltage_v"]
        for words in (("--words", NINE), ())
    )
    assert 1.28 <= low < high <= 1.76  # few fast words reach the clock of all values at a lower supply
    assert "needs at least" in asked("-p", MANY_VOLTAGES, "--words", NINE, "--clock-mhz", "400")


def test_one_mac_is_shown_with_its_provenance() -> None:
    said = asked("-p", "default")
    assert "-128 -16 -8 0 2 8 16 32 64" in said and "liberty_sha256" in said
    assert "alpha-power law" in asked("-p", MANY_VOLTAGES)


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        (("--period-ps", "200"), InputError, "--period-ps, --words and --clock-mhz must come with --profile"),
        (("-p", "default", "--words", "3,x"), InputError, "the words must be numbers with commas between"),
        (("-p", "default", "--words", "300"), ProfileError, "the weight values must be among the 256 of"),
        (("-p", "default", "--clock-mhz", "400"), InfeasibleError, "a V-f curve needs at least 3 voltages"),
        (("-p", MANY_VOLTAGES, "--clock-mhz", "9000"), InfeasibleError, "the clock must be at most"),
        (("-p", "asap7-serial-abc", "--period-ps", "1"), InfeasibleError, "no weight value meets it"),
        (("-p", "nowhere"), InputError, "the profile must be a file or one of"),
    ],
)
def test_what_cannot_be_is_refused_by_its_sentence(
    words: tuple[str, ...], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        asked(*words)


def test_help_names_the_parts_of_a_macs_name() -> None:
    said = CliRunner().invoke(app, ["characterize", "--help"], env={"COLUMNS": "120"}).stdout
    assert "ROWS TREE _ ADDER - STAGE" in " ".join(said.replace("│", " ").split())
