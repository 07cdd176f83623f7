"""Partial sums that were measured: summarised, drawn, kept in a file, and chosen for a MAC."""

import json
from pathlib import Path

import numpy as np
import pytest

from haloquant.circuits.characterization import mac_stimuli
from haloquant.circuits.netlist.logic_check import encode_partial_sums
from haloquant.circuits.ports import MacPorts
from haloquant.circuits.rtl.generator import MacSpec, ports_of
from haloquant.circuits.simulation.partial_sums import PartialSums, draw_partial_sums, summarize_partial_sums
from haloquant.errors import InputError
from haloquant.jobs.mac.profile_building import partial_sums_for
from haloquant.store.partial_sums import DEMO_FILE, FORMAT, read_partial_sums, write_partial_sums

ADDS = MacPorts()


def correlated(count: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that follow one another with a correlation of 0.8, an eighth of them 0."""
    rng = np.random.default_rng(3)
    first = rng.normal(size=count)
    second = 0.8 * first + 0.6 * rng.normal(size=count)
    still = rng.random(count) < 1 / 8
    before, after = (np.where(still, 0, np.round(1000 * x)).astype(np.int64) for x in (first, second))
    return before, after


def test_what_is_drawn_is_spread_and_follows_as_what_was_seen() -> None:
    before, after = correlated()
    sums = summarize_partial_sums(before, after, weight_bits=8, activation_bits=8, source="a test")
    one, two = draw_partial_sums(sums, 40_000, 24, seed=1)
    np.testing.assert_allclose(np.std(one), np.std(before), rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(one, two)[0, 1], np.corrcoef(before, after)[0, 1], atol=0.06)  # a grid blurs
    changed = [np.bitwise_count((a ^ b) & 0xFFFFFF).mean() for a, b in ((before, after), (one, two))]
    np.testing.assert_allclose(changed[1], changed[0], rtol=0.12)  # zeros keep their share, but pair up less often
    np.testing.assert_allclose((one == 0).mean(), (before == 0).mean(), atol=0.02)
    np.testing.assert_array_equal(one, draw_partial_sums(sums, 40_000, 24, seed=1)[0])


def test_one_cell_of_chances_draws_independently_and_a_narrow_port_cuts_off() -> None:
    sums = PartialSums("a test", 8, 8, np.array([-1000, 0, 1000]), np.ones((1, 1)))
    one, two = draw_partial_sums(sums, 20_000, 8, seed=0)
    assert (one.min(), one.max()) == (-127, 127)
    wide = draw_partial_sums(sums, 20_000, 24, seed=0)
    assert abs(np.corrcoef(*wide)[0, 1]) < 0.02
    np.testing.assert_allclose(np.std(wide[0]), 1000 / np.sqrt(3), rtol=0.02)
    assert two.size == 20_000


def test_statistics_that_cannot_be() -> None:
    with pytest.raises(
        InputError, match=r"^partial sums must have two or more quantiles, whole numbers in ascending order$"
    ):
        PartialSums("", 8, 8, np.array([1, 0]), np.ones((1, 1)))
    with pytest.raises(InputError, match=r"^the joint probabilities of partial sums must be at least 0 and not all 0$"):
        PartialSums("", 8, 8, np.array([0, 1]), np.zeros((1, 1)))


def test_a_file_comes_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    made = summarize_partial_sums(*correlated(2000), weight_bits=4, activation_bits=8, source="a test")
    write_partial_sums([made], tmp_path / "sums.json")
    (read,) = read_partial_sums(tmp_path / "sums.json")
    np.testing.assert_array_equal(read.quantile, made.quantile)
    np.testing.assert_allclose(read.joint, made.joint, rtol=1e-5)
    assert (read.source, read.weight_bits, read.activation_bits) == ("a test", 4, 8)
    for text, said in (
        ("{", "must be a file of partial-sum statistics: "),
        ('{"format": "other", "sums": []}', f"must have the format {FORMAT}, not 'other'"),
        (entry(quantile=[0, 2**60]), "must be a file of partial-sum statistics: "),
        (entry(joint=[[1.0, 2.0]]), "must hold as many joint chances in every row as there are rows"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=said):
            read_partial_sums(tmp_path / "bad.json")


def entry(**changed: object) -> str:
    """A file of one entry."""
    known = {"source": "", "weight_bits": 8, "activation_bits": 8, "quantile": [0, 1], **changed}
    return json.dumps({"format": FORMAT, "sums": [known]})


def test_what_is_shipped_was_measured_on_the_demo_model() -> None:
    eight, four = read_partial_sums(DEMO_FILE)
    assert (eight.weight_bits, four.weight_bits) == (8, 4)
    assert "linear layers of demo/model" in eight.source
    assert eight.joint.shape == (16, 16) and eight.joint.trace() > 1.2 / 16  # one follows the other, somewhat
    assert DEMO_FILE.stat().st_size < 16_000


def test_the_default_is_the_measured_one_where_there_is_one() -> None:
    sums, said = partial_sums_for(ADDS, "demo")
    assert sums is not None and said == sums.source
    four = partial_sums_for(ports_of(MacSpec(rows="sx", stage="mac", weight_bits=4)), "demo")[0]
    assert four is not None and four.weight_bits == 4
    digits = partial_sums_for(ports_of(MacSpec(rows="digits", stage="save")), "demo")[0]
    assert digits is not None and digits.weight_bits == 8
    assert partial_sums_for(ports_of(MacSpec()), "demo") == (None, "none: the multiplier alone")
    six = MacPorts(weight_bits=6)
    said = "Gaussian model of 128 rows of 6x8 bits, one independent of the other"
    assert partial_sums_for(six, "demo") == (None, said)
    assert partial_sums_for(ADDS, "gaussian")[0] is None
    with pytest.raises(
        InputError,
        match=r"must hold partial sums of 6x8 bits \(weight x activation\), as this MAC adds; it holds 8x8, 4x8$",
    ):
        partial_sums_for(six, str(DEMO_FILE))


def test_lanes_of_a_mac_hold_measured_sums_also_as_two_words() -> None:
    sums = partial_sums_for(ADDS, "demo")[0]
    assert sums is not None
    lanes = mac_stimuli(ADDS, sums)
    assert lanes.transition.size == 8192 and lanes.partial_before is not None
    kept = mac_stimuli(ports_of(MacSpec(rows="digits", stage="save")), sums)
    np.testing.assert_array_equal(
        kept.partial_before, encode_partial_sums(lanes.partial_before, ports_of(MacSpec(rows="digits", stage="save")))
    )
    assert mac_stimuli(ports_of(MacSpec()), sums).partial_before is None
    with pytest.raises(InputError, match=r"^partial sums for this MAC must be of 4 activation bits, not 8$"):
        mac_stimuli(MacPorts(activation_bits=4), sums)


def test_partial_sums_from_nowhere() -> None:
    with pytest.raises(InputError, match=r"^partial sums must be demo, gaussian or a file of them, not 'gausian'$"):
        partial_sums_for(ADDS, "gausian")
