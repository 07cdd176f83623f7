"""Verilog files, and what they include, as one text."""

from pathlib import Path

import pytest

from haloquant.errors import InputError
from haloquant.jobs.mac.verilog_files import read_verilog


def test_included_files_come_from_the_folder_of_the_verilog(tmp_path: Path) -> None:
    mac = tmp_path / "mac.v"
    mac.write_text('\ufeff`include "w.vh"\n// `include "none.vh"\nmodule mac; endmodule')
    (tmp_path / "w.vh").write_text("`define W 8")
    assert read_verilog([mac]) == '`define W 8\n// `include "none.vh"\nmodule mac; endmodule'
    (tmp_path / "w.vh").write_text('`include "w.vh"')
    with pytest.raises(InputError, match=r"must include each other at most 8 deep and 64 times, but .*w.vh"):
        read_verilog([mac])
    (tmp_path / "w.vh").write_text("")
    mac.write_text(65 * '`include "w.vh"\n')
    with pytest.raises(InputError, match="at most 8 deep and 64 times"):
        read_verilog([mac])
    for outside in ("/etc/hostname", "../w.vh"):
        mac.write_text(f'`include "{outside}"')
        with pytest.raises(InputError, match=r"an included file must be in .* or a folder below it, not"):
            read_verilog([mac])
    mac.write_text('`include "w.vh"\n')
    (tmp_path / "w.vh").unlink()
    with pytest.raises(InputError, match=r"w.vh must be a file; there is none"):
        read_verilog([mac])


def test_folders_of_included_files_come_after_the_file_s_own(tmp_path: Path) -> None:
    """As with -I of simulators: first beside the including file, then folder by folder."""
    rtl, first, second = (tmp_path / name for name in ("rtl", "first", "second"))
    for folder in (rtl, first, second / "sub"):
        folder.mkdir(parents=True)
    (rtl / "mac.v").write_text('`include "a.vh"\n`include "sub/b.vh"')
    (first / "a.vh").write_text("first")
    (second / "a.vh").write_text("second")
    (second / "sub" / "b.vh").write_text('`include "c.vh"')
    (second / "sub" / "c.vh").write_text("beside b")
    with pytest.raises(InputError, match=r"a\.vh must be a file; there is none"):
        read_verilog([rtl / "mac.v"])
    assert read_verilog([rtl / "mac.v"], [first, second]) == "first\nbeside b"
    assert read_verilog([rtl / "mac.v"], [second, first]) == "second\nbeside b"
    (rtl / "a.vh").write_text("own")
    assert read_verilog([rtl / "mac.v"], [first, second]).startswith("own\n")
    (first / "a.vh").write_text("")
    (rtl / "mac.v").write_text('`include "../other.vh"')
    (tmp_path / "other.vh").write_text("other")
    with pytest.raises(InputError, match=r"an included file must be in .*rtl or .*first or a folder below it"):
        read_verilog([rtl / "mac.v"], [first])
    with pytest.raises(InputError, match=r"the folder of included files must exist: .*nowhere"):
        read_verilog([rtl / "mac.v"], [tmp_path / "nowhere"])


def test_files_are_read_in_their_order_and_once(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("b.v", "a.v")]
    for file in files:
        file.write_text(file.stem)
    assert read_verilog(files) == "b\na"
    with pytest.raises(InputError, match=r"each Verilog file must be given once, not .*a\.v"):
        read_verilog([*files, files[1]])
    with pytest.raises(InputError, match="at least one Verilog file"):
        read_verilog([])


def test_files_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haloquant.jobs.mac.verilog_files.MAX_RTL", 10)
    files = [tmp_path / "a.v", tmp_path / "b.v"]
    for file in files:
        file.write_text(6 * "x")
    with pytest.raises(InputError, match="at most 10 characters"):
        read_verilog(files)
