"""The measured table is looked up by shape, words and batch, and what is missing is said."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.records.operator_costs import MIXES, OperatorRow, OperatorTable, mix_of, repeated_row


def table(energy_j: float | None = None) -> OperatorTable:
    rows = [
        OperatorRow(out, 32, mix, batch, 1e-6 * out * batch * (1 + place), 1e-7, 1e-3, energy_j, 10)
        for out in (16, 64)
        for batch in (1, 8)
        for place, mix in enumerate(MIXES)
    ]
    return OperatorTable("m", "cpu", 1, 128, 0.005, 3, "" if energy_j is None else "RAPL", tuple(rows))


def test_classes_cost_what_the_kernel_of_their_number_of_words_takes() -> None:
    assert [mix_of(words) for words in (2, 9, 10, 16, 17)] == ["nine", "nine", "sixteen", "sixteen", "bytes"]
    seconds, joules = table().class_costs((64, 32), (9, 16), 8)
    assert seconds == pytest.approx([512e-6, 3 * 512e-6]) and joules is None
    seconds, joules = table(2e-3).class_costs((16, 32), (7, 9), 1)
    assert seconds == pytest.approx([16e-6, 16e-6])
    assert joules is not None and np.array_equal(joules, [2e-3, 2e-3])


def test_a_product_that_was_not_measured_is_named() -> None:
    with pytest.raises(InputError) as caught:
        table().class_costs((64, 32), (9, 16), 2)
    assert str(caught.value) == (
        "the measured table must hold a product of 2 token(s) with 64 x 32 weights in tiles of nine words, and was "
        "measured for m at batches 1, 8; measure-ops measures it"
    )


def test_a_row_that_is_there_twice_is_found() -> None:
    rows = table().rows
    assert repeated_row(rows) is None and repeated_row((*rows, rows[3])) is rows[3]
