"""The paper's -51 % energy, held against a multiplier that was synthesized and simulated, on two kinds of machine.

The claim: HALO spends 51 % less energy on average than "baseline quantization" (abstract). Its baselines hold W8A8 and
W4A8 methods; which of them the mean is over could not be read, so both are shown, and so are both phases. Shapes are
LLaMA2-7B's, weights Gaussian, half of the tiles fast, the shipped default profile. Two machines: `paper_tpu`, the
paper's own clocks and supplies with no memory outside and no static power, and `edge_lpddr5x`, with both.
"""

from functools import cache
from typing import NamedTuple

import pytest

from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.dvfs.schedule import Policy
from haloquant.jobs.machines.systems import QuantizedModel, halo_system, load_shape, rival_systems, run_system
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_systolic

PAPER = 0.49  # of the baseline's energy


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
    ours = run_system(halo_system(loaded, workload, target, "boost"), workload, target, loaded, (Policy.PANEL,)).total
    found: dict[str, Share] = {}
    for system in rival_systems(loaded, workload, target)[:3]:
        other = run_system(system, workload, target, loaded, (Policy.PANEL,)).total
        share = Share(ours.total_energy_j / other.total_energy_j, ours.energy_j["mac"] / other.energy_j["mac"])
        found[system.name.split()[0]] = share
    return found


def test_against_w8a8_in_prefill_partly(capsys: pytest.CaptureFixture[str]) -> None:
    """Claim: -51 %. Ours: -7 % (paper_tpu), -21 % (edge). Partly reproduced: in the multipliers alone.

    The multipliers themselves spend 60 % and 67 % less: the words of both classes switch few gates. But they are 42 %
    of the energy of W8A8 without a memory system and 25 % with one; partial sums, whose width does not change, are the
    largest part. The paper counts 50 to 89 % of the power into its MACs, accumulation included.
    """
    paper, edge = shares("paper_tpu", "prefill")["W8A8"], shares("edge_lpddr5x", "prefill")["W8A8"]
    _say(capsys, "prefill against W8A8", paper, edge)
    assert 0.35 < paper.mac < PAPER
    assert 0.27 < edge.mac < PAPER
    assert 0.88 < paper.total < 0.98
    assert 0.77 < edge.total < 0.88


def test_against_w8a8_in_decode_nearly(capsys: pytest.CaptureFixture[str]) -> None:
    """Claim: -51 %. Ours: -44 % (paper_tpu), -45 % (edge). Nearly reproduced, and not for the paper's reason.

    One token meets every weight once: energy follows the bytes of weights, about 4.1 bits against 8. The multipliers
    are under 3 % of it, so any 4-bit format would save as much (next test).
    """
    paper, edge = shares("paper_tpu", "decode")["W8A8"], shares("edge_lpddr5x", "decode")["W8A8"]
    _say(capsys, "decode against W8A8", paper, edge)
    for share in (paper, edge):
        assert PAPER < share.total < 0.60


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_against_w4a8_not_reproduced(phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Claim: -51 %. Ours: +29 % and 0 % in prefill, -2 % and -5 % in decode (paper_tpu, edge). Not reproduced.

    A uniform 4-bit grid placed on the upper bits of the multiplier (multiples of 16) is as quiet as HALO's words, and
    reads as many bits. On paper_tpu HALO also pays the higher supply of its faster clocks: (1.2 / 1.0)^2 = 1.44.
    """
    paper, edge = shares("paper_tpu", phase)["W4A8"], shares("edge_lpddr5x", phase)["W4A8"]
    _say(capsys, f"{phase} against W4A8", paper, edge)
    for share in (paper, edge):
        assert 0.90 < share.total < 1.40
    if phase == "prefill":
        assert paper.mac > 1.0 > edge.mac > 0.8


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("machine", ["paper_tpu", "edge_lpddr5x"])
def test_against_fp16_more_than_the_claim(machine: str, phase: str) -> None:
    """Against 16-bit floating point the saving is above 51 % everywhere: -68 to -74 %.

    Most of it is what any 8-bit or 4-bit integer array saves, on an assumed 5 times the energy of a float operation.
    """
    assert 0.2 < shares(machine, phase)["FP16"].total < PAPER


def _say(capsys: pytest.CaptureFixture[str], what: str, paper: Share, edge: Share) -> None:
    with capsys.disabled():
        print(
            f"\nHALO energy in {what}: {paper.total - 1:+.0%} on paper_tpu, {edge.total - 1:+.0%} on edge_lpddr5x "
            f"(multipliers alone {paper.mac - 1:+.0%}, {edge.mac - 1:+.0%}); the paper's mean: -51 %"
        )
