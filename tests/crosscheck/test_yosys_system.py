"""The fallback: a `yosys` on the path does what the wheel does."""

import shutil
from pathlib import Path

import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.logic_check import check_mac
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.rtl.generator import MacSpec, generate, ports_of
from haloquant.eda import yosys
from support.mapping_library import mapping_library_text

pytestmark = pytest.mark.crosscheck


def test_the_system_yosys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if shutil.which("yosys") is None:
        pytest.skip("needs yosys on the path (apt install yosys)")
    monkeypatch.setattr(yosys, "find_spec", lambda name: None)
    found = yosys.find_yosys.__wrapped__()
    assert found.source == "system" and found.version[0].isdigit()
    monkeypatch.setattr(yosys, "find_yosys", lambda: found)
    path = tmp_path / "mapping.lib"
    path.write_text(mapping_library_text())
    spec = MacSpec(rows="boothw", weight_bits=4, activation_bits=4, stage="mac", accumulator_bits=10)
    mapped = yosys.synthesize(generate(spec), path, 1e-9, abc_script="balance")
    library = parse_liberty(mapping_library_text(), "mapping.lib")
    assert check_mac(parse_netlist(mapped.json_text, library, ports_of(spec)), library) == 3 * 256
    assert mapped.provenance["synthesis"] == f"Yosys {found.version} (system)"
    assert mapped.area > 0 and mapped.abc_delay_s > 0


def test_no_yosys_at_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(yosys, "find_spec", lambda name: None)
    monkeypatch.setattr(yosys.shutil, "which", lambda name: None)
    sentence = r"synthesis needs Yosys, and none was found; install it with pip install 'haloquant\[eda\]'"
    with pytest.raises(yosys.ToolError, match=sentence):
        yosys.find_yosys.__wrapped__()
