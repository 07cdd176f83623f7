"""The table of `docs/stages/accelerators.md` on bits of the inputs, simulated again to its digits."""

import re
from pathlib import Path

import pytest

import haloquant
from support.draws import daily

PAGE = Path(__file__).parents[2] / "docs/stages/accelerators.md"
ROWS = re.findall(r"\| (\d) \| ([\d.]+) ms, ([\d.]+) J, ([\d.]+) GB \| ([\d.]+) ms, ([\d.]+) mJ \|", PAGE.read_text())


def test_the_table_was_found() -> None:
    assert [row[0] for row in ROWS] == ["8", "6", "4"]


@pytest.mark.slow
@pytest.mark.thinned
@pytest.mark.parametrize("row", daily(ROWS, ROWS[2:]), ids=lambda row: f"{row[0]} bits")
def test_the_table_holds_what_the_command_gives(row: tuple[str, ...]) -> None:
    found = haloquant.simulate("llama2-7b", "edge_lpddr5x", activation_bits=int(row[0]), progress=False)
    prefill, decode = found.simulation("prefill"), found.simulation("decode")
    made = (
        prefill.time_s * 1e3, prefill.total.total_energy_j, prefill.dram_bytes / 1e9,
        decode.time_s * 1e3, decode.total.total_energy_j * 1e3,
    )  # fmt: skip
    for said, value in zip(row[1:], made, strict=True):
        assert f"{value:.{len(said.partition('.')[2])}f}" == said
