"""Checking and converting packed folders from the public functions."""

from pathlib import Path

import pytest

from haloquant.api.models.packed_models import export, load, verify
from haloquant.errors import FormatError, InputError


def test_paths_are_checked_by_name() -> None:
    with pytest.raises(InputError, match=r"^out must be a name or path"):
        export("packed", "", source="demo", progress=False)
    with pytest.raises(InputError, match=r"^source must be a name or path"):
        export("packed", "out", source="", progress=False)
    with pytest.raises(InputError, match=r"^folder must be a name or path"):
        verify("")
    with pytest.raises(InputError, match=r"^folder must be a name or path"):
        load("")


def test_a_profile_that_does_not_exist_is_found_before_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no-such-mac") as error:
        verify(tmp_path / "none", profile="no-such-mac")
    assert not isinstance(error.value, FormatError)
    with pytest.raises(InputError, match="no-such-mac") as error:
        load(tmp_path / "none", profile="no-such-mac")
    assert not isinstance(error.value, FormatError)


def test_a_profile_is_named_or_hashed_and_not_both(tmp_path: Path) -> None:
    for call in (load, verify):
        with pytest.raises(InputError, match="profile and profile_sha256 must not both be given"):
            call(tmp_path, profile_sha256="0" * 64, profile="default")
