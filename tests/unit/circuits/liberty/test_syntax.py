"""The syntax of Liberty files and its error messages."""

from support.gate_cases import liberty_error, library_text


def test_a_truncated_file_names_the_group_that_stays_open():
    text = library_text()
    cut = text[: text.index("}", text.index("cell (XOR2)"))]
    line = cut[: cut.rindex("pin (A)")].count("\n") + 1
    assert liberty_error(cut) == (
        f"x.lib:{line}: group pin (A) must be closed by '}}', but the file ends first; "
        "it is truncated or a brace is missing"
    )


def test_a_file_cut_inside_a_statement():
    text = library_text()
    cut = text[: text.index("capacitance", text.index("cell (XOR2)")) + 5]
    assert liberty_error(cut) == (
        f"x.lib:{cut.count(chr(10)) + 1}: the file must not end inside a statement, but it does, after 'capac'; "
        "it is truncated"
    )


def test_a_malformed_statement_is_shown_with_its_line():
    assert liberty_error("library (x) {\n  area 3;\n}\n") == (
        "x.lib:2: a statement must be 'name : value;', 'name (values);' or 'name (args) {', not 'area 3;'"
    )
