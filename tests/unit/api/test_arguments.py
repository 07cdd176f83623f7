"""Arguments that are not allowed are refused by a sentence before any work."""

from pathlib import Path

import pytest

from haloquant.api import arguments
from haloquant.errors import InputError


def test_a_choice_lists_what_is_allowed() -> None:
    arguments.check_choice("goal", "bal", ("bal", "acc-opt"))
    with pytest.raises(InputError, match=r"^goal must be one of bal, acc-opt, not 'best'$"):
        arguments.check_choice("goal", "best", ("bal", "acc-opt"))


@pytest.mark.parametrize("value", [0, 1.5, "2", True, None])
def test_a_count_is_a_whole_number(value: object) -> None:
    arguments.check_count("samples", 1, 1)
    with pytest.raises(InputError, match="samples must be a whole number of at least 1, not"):
        arguments.check_count("samples", value, 1)
    with pytest.raises(InputError, match="samples must be a whole number from 1 to 9, not"):
        arguments.check_count("samples", value, 1, 9)


def test_no_count_is_without_bound() -> None:
    arguments.check_count("samples", (1 << 31) - 1, 1)
    with pytest.raises(InputError, match=r"^samples must be a whole number from 1 to 2147483647, not 2147483648$"):
        arguments.check_count("samples", 1 << 31, 1)


@pytest.mark.parametrize("value", [-0.1, 0.6, float("nan"), float("inf"), "0.1", True])
def test_a_number_is_finite_and_in_its_range(value: object) -> None:
    arguments.check_range("share", 0, 0.0, 0.5)
    arguments.check_range("share", 0.5, 0.0, 0.5)
    with pytest.raises(InputError, match=r"share must be 0 to 0\.5, not"):
        arguments.check_range("share", value, 0.0, 0.5)
    with pytest.raises(InputError, match=r"^period_s must be 1e-12 to 0\.001, not 0$"):
        arguments.check_range("period_s", 0, 1e-12, 1e-3)


def test_paths_are_str_or_path_and_never_empty() -> None:
    assert arguments.path_text("model", Path("a/b")) == "a/b"
    assert arguments.path_texts("liberty", "a.lib") == ("a.lib",)
    assert arguments.path_texts("liberty", ["a.lib", Path("b.lib")]) == ("a.lib", "b.lib")
    for wrong in ("", None, 3, b"model"):
        with pytest.raises(InputError, match="model must be a name or path as str or Path, not"):
            arguments.path_text("model", wrong)
    for wrong, sentence in (
        ("a\0b", "^model must be a name or path without the character of number 0"),
        ("a\ud800", "^model must be a name or path without single surrogates"),
        ("f/" + "a" * 256, r"^model must be a path whose names have at most 255 bytes, not 'f/aaaa"),
    ):
        with pytest.raises(InputError, match=sentence):
            arguments.path_text("model", wrong)
    for wrong in ([], None, {"a.lib"}):
        with pytest.raises(InputError, match="liberty must be a path or a sequence of at least one path, not"):
            arguments.path_texts("liberty", wrong)


def test_texts_may_be_one_several_or_none() -> None:
    assert arguments.texts("exclude", None) == ()
    assert arguments.texts("exclude", "experts") == ("experts",)
    assert arguments.texts("exclude", ["a", "b"]) == ("a", "b")
    with pytest.raises(InputError, match="exclude must be a sequence of str, not"):
        arguments.texts("exclude", [1])
