"""Error messages of look-up tables."""

import pytest

from support.gate_cases import group, liberty_error, library_text


def _cell(body: str, name: str = "X") -> str:
    return library_text({name: body})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (group("cell_rise", [[1, 2]]), "cell_rise must have 2 x 2 values, not 2"),
        (group("cell_rise", [[1, 2], [3, 4]], "lost"),
         "cell_rise must name a table template of the library or 'scalar', not 'lost'"),
        ("cell_rise (delay) { }", "cell_rise must have values, but they are missing"),
        ('cell_rise (delay) { values ("1, 2", "3, x"); }', "values of cell_rise must be numbers, not 'x'"),
        ('cell_rise (delay) { values ("1, 2", "3, nan"); }',
         "values of cell_rise must be finite numbers, not '\"1, 2\", \"3, nan\"'"),
        ('cell_rise (delay) { index_1 ("2, 1"); values ("1, 2", "3, 4"); }',
         'index_1 of cell_rise must ascend, not "2, 1"'),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused_with_its_line(body: str, sentence: str):
    text = _cell(f'pin (Y) {{ direction : output; timing () {{ related_pin : "A";\n{body}\n}} }}\n')
    line = text[: text.index(body)].count("\n") + 1
    assert liberty_error(text) == f"x.lib:{line}: {sentence}"
