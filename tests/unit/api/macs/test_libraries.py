"""A real library, cut into files and put together again, is the same library."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from haloquant.api import merge_liberty
from haloquant.circuits.liberty.syntax import SourceText, read_groups
from haloquant.cli.app import invoke
from haloquant.errors import InputError
from haloquant.store.cell_libraries import liberty_text, read_library
from haloquant.store.cell_library_codec import encode_library


@pytest.fixture(scope="module")
def parts(find_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """Return a library, and three files with its header and a third of its cells each."""
    whole = find_data("liberty/sky130hd/sky130hd_tt_025C_1v80.lib.gz")
    text = liberty_text(whole)
    cells = [group for group in read_groups(SourceText("whole", text)).groups if group.kind == "cell"]
    files, folder = [], tmp_path_factory.mktemp("parts")
    for part in range(3):
        kept = text
        for group in reversed(cells):
            if cells.index(group) * 3 // len(cells) != part:
                kept = kept[: group.offset] + kept[group.end :]
        file = folder / f"part{part}.lib.gz"
        file.write_bytes(gzip.compress(kept.encode(), 1))
        files.append(file)
    return whole, files


def test_a_library_in_three_files_is_the_whole_one(parts, tmp_path, capfd) -> None:
    whole, files = parts
    out = tmp_path / "all.lib.gz"
    assert invoke(["merge-liberty", *map(str, files), "--out", str(out)]) == 0
    wanted = read_library(whole, tmp_path / "cache")
    assert f"{len(wanted.cells)} cells of 3 files at 1.8 V, 25 °C; written to" in " ".join(
        capfd.readouterr().out.split()
    )
    found = read_library(out, tmp_path / "cache")
    assert list(found.cells) == list(wanted.cells)
    assert encode_library(replace(found, source=wanted.source)) == encode_library(wanted)
    with pytest.raises(InputError, match="out must be a new file, but"):
        merge_liberty(files, out)


def test_a_missing_file_is_said_before_anything_is_written(parts, tmp_path) -> None:
    with pytest.raises(InputError, match="there is none"):
        merge_liberty([parts[1][0], tmp_path / "none.lib"], tmp_path / "all.lib")
    assert not (tmp_path / "all.lib").exists()
