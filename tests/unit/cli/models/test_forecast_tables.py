"""Tables of stages: measured beside predicted, kinds of layers below their stage."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from haloquant.api.models.quantization_forecast import ExpectedStage
from haloquant.cli.models.forecast_tables import stage_table
from haloquant.jobs.engine.metering import StageUsage


def _lines(table: Table) -> list[list[str]]:
    text = io.StringIO()
    Console(file=text, width=160).print(table)
    rows = [line.strip("┃│ ") for line in text.getvalue().splitlines() if "│" in line]
    return [[cell.strip() for cell in row.split("│")] for row in rows]


@pytest.mark.parametrize("known", [True, False])
def test_a_stage_without_a_prediction_has_a_dash(known: bool) -> None:
    spent = [
        StageUsage("quantize", seconds=12.34, cpu_s=20.0, driver_b=2e9, worker_b=3e9),
        StageUsage("quantize", "q_proj", cpu_s=5.0, weights=9),
    ]
    predicted = [ExpectedStage("quantize", 10.0, 1e9, 1e9)] if known else []
    stage, kind = _lines(stage_table(spent, predicted))
    time_s, memory_b = ("10.0 s", "1 GB") if known else ("–", "–")
    assert stage == ["quantize", "12.3 s", "20.0 s", time_s, "2 GB", memory_b, "3 GB"]
    assert kind[:3] == ["q_proj", "", "5.0 s"]


def test_a_stage_on_a_gpu_has_its_predicted_memory() -> None:
    spent = [StageUsage("quantize", seconds=12.34, cpu_s=20.0, driver_b=2e9), StageUsage("pack", driver_b=2e9)]
    expected = [ExpectedStage("quantize", 10.0, device_b=3e9), ExpectedStage("pack", 1.0, 1e9)]
    rounded, packed = _lines(stage_table(spent, expected))
    assert rounded[3:] == ["10.0 s", "2 GB", "–", "–", "3 GB"]
    assert packed[3:] == ["1.0 s", "2 GB", "1 GB", "–", "–"]
