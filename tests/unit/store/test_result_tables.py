"""Result tables as JSON and CSV."""

import json
from dataclasses import dataclass, replace

from haloquant.store.result_tables import records_to_rows, table_csv, table_document, table_json
from haloquant.store.targets import read_systolic


@dataclass(frozen=True)
class Cell:
    name: str
    time_s: float


def test_rows_without_a_column_have_an_empty_cell() -> None:
    assert table_csv([{"a": 1, "b": "x"}, {"a": 2, "c": True}]) == "a,b,c\n1,x,\n2,,True\n"


def test_infinity_is_a_text_in_json() -> None:
    rows = records_to_rows([Cell("fast", 0.5), Cell("never", float("inf"))])
    machine = read_systolic("paper_tpu")
    found = json.loads(table_json(table_document("sweep", "m", "p", machine, rows, ["n"])))
    assert found["format"] == "haloquant.sweep" and found["target"] == "paper_tpu" and found["notes"] == ["n"]
    assert found["rows"] == [{"name": "fast", "time_s": 0.5}, {"name": "never", "time_s": "inf"}]


def test_another_machine_has_another_hash() -> None:
    machine = read_systolic("paper_tpu")
    wider = replace(machine, array=replace(machine.array, columns=machine.array.columns * 2))
    first, second = (table_document("sweep", "m", "p", each, []).machine_hash for each in (machine, wider))
    assert first != second
