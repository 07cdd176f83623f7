"""The paper's energy: figures 10 and 13 and its -51 %, by its own power by value, and on a MAC that was synthesized.

The -51 % is against 16-bit floating point (figure 10). Against quantized models its figures show no saving: HALO draws
2 % more than W8A8, 11 % more than W4A8. Each test names figure, the paper's number, ours and the verdict. The second
half is this package's own MAC (the shipped default profile, simulated on its netlist) with LLaMA2-7B's shapes, Gaussian
weights and half of the tiles fast, on two machines: `paper_tpu`, the paper's clocks and supplies with no memory outside
and no static power, and `edge_lpddr5x`, with both.
"""

from functools import cache
from typing import NamedTuple

import pytest

from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.dvfs.schedule import Policy
from haloquant.jobs.machines.systems import QuantizedModel, halo_system, load_shape, rival_systems, run_system
from haloquant.jobs.paper.energy_claims import TOLERANCE, energy_rows
from haloquant.jobs.paper.speed_claims import published, speed_rows
from haloquant.report.paper.rows import ClaimRow, number
from haloquant.store.paper_figures import MODELS, effective_bits, read_bars, read_statements
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_systolic

SAVED = read_statements()["energy-saved"].value  # HALO's energy over that of FP16
ROWS = energy_rows({})
JUDGED = [row for row in ROWS if row.ours is not None]
MODELS_WITHOUT_BITS = set(MODELS) - set(effective_bits("bal", 128))


def test_every_bar_of_the_data_has_a_row() -> None:
    """Figures 8 and 10 to 13: one row for each bar and model, with the paper's number, judged or not."""
    rows = [*speed_rows({}), *ROWS]
    for bar in read_bars():
        found = [
            row
            for row in rows
            if row.place == f"figure {bar.figure}"
            and row.paper == bar.value
            and row.claim.split(": ")[1].startswith(f"{bar.system.removeprefix('halo ')} ")
            and row.claim.endswith(f", {bar.model}")
        ]
        assert len(found) == 1, bar


@pytest.mark.parametrize("row", JUDGED, ids=lambda row: f"{row.place}: {row.claim}")
def test_every_judged_bar_follows_from_power_by_value_and_clocks(
    row: ClaimRow, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures 10 and 13: each bar within 10 %, or a later test names it. Figure 8 implies bits that no table has."""
    with capsys.disabled():
        print(f"\n{row.place}, {row.claim}: paper {number(row.paper, 'ratio')}, ours {number(row.ours, 'ratio')}: "
              f"{row.verdict}")  # fmt: skip
    assert row.paper and row.ours
    assert row.ours == pytest.approx(row.paper, rel=TOLERANCE)
    assert row.verdict == ("partly" if row.place == "abstract" else "follows from its clocks")


def test_bars_that_are_not_judged_say_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """Figure 10's FP16 and figure 13's W8A8: the energy of a float operation and the GPU's split are not published.

    Nor are the bits of perf-opt and acc-opt for three models of figure 13.
    """
    left = [row for row in ROWS if row.ours is None]
    by_kind: dict[tuple[str, str], set[str]] = {}
    for row in left:
        with capsys.disabled():
            print(f"\n{row.place}, {row.claim}: paper {number(row.paper, 'ratio')}, no number of ours: {row.verdict}")
        by_kind.setdefault((row.place, row.claim.split()[1]), set()).add(row.claim.rsplit(" ", 1)[1])
    assert by_kind == {
        ("figure 10", "fp16"): set(MODELS),
        ("figure 13", "w8a8"): set(MODELS),
        ("figure 13", "perf-opt"): MODELS_WITHOUT_BITS,
        ("figure 13", "acc-opt"): MODELS_WITHOUT_BITS,
    }
    assert all("not published" in row.why and row.verdict == "not judged" for row in left)


def test_the_cube_of_the_supply_is_nearer_to_figure_13_than_its_square(capsys: pytest.CaptureFixture[str]) -> None:
    """Figure 13: energies of perf-opt and acc-opt over bal. Switched energy goes with the square: follows."""
    from haloquant.jobs.paper.energy_claims import supply_ratio

    off = {
        power: max(
            abs(supply_ratio(goal, model, power) / published(13, f"halo {goal}")[model] - 1)
            for goal in ("perf-opt", "acc-opt")
            for model in effective_bits(goal, 128)
        )
        for power in (2, 3)
    }
    for goal in ("perf-opt", "acc-opt"):
        bars = published(13, f"halo {goal}").values()
        with capsys.disabled():
            print(f"\nfigure 13, {goal} over bal: paper {min(bars):.2f} to {max(bars):.2f}")
    with capsys.disabled():
        print(f"off by {off[2]:.1%} at most with the square, {off[3]:.1%} with the cube: follows from its clocks")
    assert off[3] < off[2] < TOLERANCE


class Share(NamedTuple):
    """HALO's energy over a rival's: all of it, and of the multipliers alone."""

    total: float
    mac: float


@cache
def _loaded() -> QuantizedModel:
    return load_shape("llama2-7b", find_profile("default"), 0.5)


@cache
def shares(machine: str, phase: str) -> dict[str, Share]:
    """By rival, without its placement."""
    loaded, target = _loaded(), read_systolic(machine)
    workload = prefill(loaded.shape, 2048) if phase == "prefill" else decode(loaded.shape, 2048)
    ours = run_system(halo_system(loaded, workload, target), workload, target, loaded, (Policy.PANEL,)).total
    found: dict[str, Share] = {}
    for system in rival_systems(loaded, workload, target)[:3]:
        other = run_system(system, workload, target, loaded, (Policy.PANEL,)).total
        share = Share(ours.total_energy_j / other.total_energy_j, ours.energy_j["mac"] / other.energy_j["mac"])
        found[system.name.split()[0]] = share
    return found


def _paper(system: str) -> float:
    """HALO's energy over a rival's in figure 10, where all models have the same bar."""
    (bar,) = set(published(10, system).values())
    return 1 / bar


def test_against_w8a8_in_prefill(capsys: pytest.CaptureFixture[str]) -> None:
    """Figure 10, W8A8: the paper +2 %. Ours: -7 % (paper_tpu), -21 % (edge). Not reproduced: our MAC saves more.

    The multipliers themselves spend 60 % and 67 % less: the words of both classes switch few gates. But they are 42 %
    of the energy of W8A8 without a memory system and 25 % with one; partial sums, whose width does not change, are the
    largest part.
    """
    paper, edge = shares("paper_tpu", "prefill")["W8A8"], shares("edge_lpddr5x", "prefill")["W8A8"]
    _say(capsys, "prefill", "W8A8", paper, edge, "not reproduced: ours saves where the paper's draws more")
    assert 0.35 < paper.mac < 0.49
    assert 0.27 < edge.mac < 0.49
    assert 0.88 < paper.total < 0.98 and _paper("w8a8") > 1
    assert 0.77 < edge.total < 0.88


def test_against_w8a8_in_decode(capsys: pytest.CaptureFixture[str]) -> None:
    """Figure 10, W8A8: the paper +2 %. Ours: -44 % (paper_tpu), -45 % (edge). Not reproduced.

    The saving is not by HALO's words. One token meets every weight once: energy follows the bytes of weights, about 4.1
    bits against 8. The multipliers are under 3 % of it, so any 4-bit format would save as much (next test).
    """
    paper, edge = shares("paper_tpu", "decode")["W8A8"], shares("edge_lpddr5x", "decode")["W8A8"]
    _say(capsys, "decode", "W8A8", paper, edge, "not reproduced: ours saves by fewer bytes")
    for share in (paper, edge):
        assert 0.49 < share.total < 0.60


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_against_w4a8(phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Figure 10, W4A8: the paper +11 %. Ours: +29 % and 0 % in prefill, -2 % and -5 % in decode. Partly.

    Neither the paper's figure nor our MAC shows a saving worth its name against W4A8. A uniform 4-bit grid on the upper
    bits of the multiplier (multiples of 16) needs as little energy as HALO's words, and reads as many bits. On
    paper_tpu HALO also pays the higher supply of its faster clocks: (1.2 / 1.0)^2 = 1.44.
    """
    paper, edge = shares("paper_tpu", phase)["W4A8"], shares("edge_lpddr5x", phase)["W4A8"]
    _say(capsys, phase, "W4A8", paper, edge, "partly: no saving worth its name, and another amount")
    for share in (paper, edge):
        assert 0.90 < share.total < 1.40
    assert _paper("w4a8") > 1
    if phase == "prefill":
        assert paper.mac > 1.0 > edge.mac > 0.8


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("machine", ["paper_tpu", "edge_lpddr5x"])
def test_against_fp16_more_than_the_claim(machine: str, phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Headline and figure 10, FP16: the paper -51 %. Ours: -69 to -74 %. Not judged: no energy of a float is published.

    Most of it is what any 8-bit or 4-bit integer array saves, on 5 times the energy of a float operation, where figure
    10 implies less than 2 times.
    """
    assert _paper("fp16") == pytest.approx(SAVED, rel=0.02)
    ours = shares(machine, phase)["FP16"].total
    with capsys.disabled():
        print(f"\nfigure 10, HALO's energy against FP16, {phase}: paper {SAVED - 1:+.0%}")
        print(f"ours {ours - 1:+.0%} on {machine}: not judged")
    assert 0.2 < ours < SAVED


def _say(capsys: pytest.CaptureFixture[str], phase: str, rival: str, paper: Share, edge: Share, verdict: str) -> None:
    with capsys.disabled():
        print(
            f"\nfigure 10, HALO's energy against {rival}, {phase}: paper {_paper(rival.lower()) - 1:+.0%}; ours "
            f"{paper.total - 1:+.0%} on paper_tpu, {edge.total - 1:+.0%} on edge_lpddr5x "
            f"(multipliers alone {paper.mac - 1:+.0%}, {edge.mac - 1:+.0%}): {verdict}"
        )
