"""Target files: what is shipped, what each number carries, and what is refused with which words."""

import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest
import tomli_w

from haloquant.accel.cost_model.cycles import WeightLoad
from haloquant.accel.target import Target
from haloquant.errors import TargetError
from haloquant.records import OperatingPoint
from haloquant.store.targets import parse_target, read_gpu, read_systolic, read_target, shipped_targets
from support.near import near


def _text(name: str = "edge_lpddr5x") -> str:
    return (resources.files("haloquant") / "data" / "targets" / f"{name}.toml").read_text()


def test_six_targets_are_shipped_and_say_where_every_number_comes_from() -> None:
    assert shipped_targets() == ("edge_lpddr5x", "gpu_2080ti", "h200", "paper_tpu", "rpi5", "tpuv4i_like")
    for name in shipped_targets():
        target = read_target(name)
        assert target.name == name
        numbers = len(re.findall(r"value = ", _text(name)))
        assert len(target.figures) == numbers > 10
        assert all(len(figure.source) > 3 for figure in target.figures.values())


def test_units_become_si() -> None:
    edge = read_systolic("edge_lpddr5x")
    assert edge.base == OperatingPoint(1.0, 1.9e9)
    assert edge.dram.bandwidth_b_per_s == 68e9 and edge.dram.energy_j_per_bit == near(4e-12)
    assert edge.sram.size_b == 8 * 2**20 and edge.transition.latency_s == near(1e-6)
    assert edge.array.weight_load is WeightLoad.DOUBLE and not edge.array.claimed_clocks
    assert edge.figures["dram.bandwidth"].status == "cited"
    paper = read_systolic("paper_tpu")
    assert [p.frequency_hz for p in paper.points] == [1.9e9, 2.4e9, 3.7e9] and paper.array.claimed_clocks
    assert paper.dram.bandwidth_b_per_s == float("inf") and paper.transition.latency_s == 0
    assert read_gpu("gpu_2080ti").int8_mac_per_s == near(544 * 128 * 1.5e9, rel=1e-3)


def test_the_supply_of_the_profiles_energies_may_be_given() -> None:
    given = 'profile_voltage = { value = 700, unit = "mV", status = "assumed", source = "nominal supply" }'
    text = _text().replace('clocks = "profile"', f'{given}\nclocks = "profile"')
    target = parse_target(text.encode())
    assert isinstance(target, Target)
    assert target.energy_voltage_v == near(0.7) and target.base.voltage_v == 1.0
    assert target.figures["array.profile_voltage"].status == "assumed"
    assert read_systolic("edge_lpddr5x").energy_voltage_v == 1.0  # without it, the supply of the base point
    with pytest.raises(TargetError, match=r"^array.profile_voltage.value must be above 0 V, not 0 mV$"):
        parse_target(text.replace("value = 700", "value = 0").encode())


def test_a_file_may_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(_text().replace('name = "edge_lpddr5x"', 'name = "mine"'))
    assert read_target(path).name == "mine"
    path.write_text("[[x]]")
    with pytest.raises(TargetError, match=r"mine\.toml: format is missing from the target$"):
        read_target(path)


def test_a_byte_order_mark_is_no_part_of_a_file() -> None:
    raw = _text().encode()
    assert parse_target(b"\xef\xbb\xbf" + raw) == parse_target(raw)


CHANGES = {
    "no toml": ("format = 1", "format = ", r"^target file must be TOML, and it is not: "),
    "version": ("format = 1", "format = 2", r"^format must be 1, not 2; this file is of another version$"),
    "kind": ('kind = "systolic"', 'kind = "quantum"', r"^kind must be systolic or gpu, not 'quantum'$"),
    "unknown key": (
        "[transition]",
        "[transition]\nspeed = 1",
        r"^transition.speed is not known to targets of this kind",
    ),
    "unknown section": ("[static]", "[cooling]\nfans = 2\n[static]", r"^cooling is not known to targets of this kind"),
    "key of a number": (
        "{ value = 68, ",
        "{ value = 68, note = 1, ",
        r"^dram.bandwidth.note is not known; a number has",
    ),
    "missing status": (
        'status = "assumed", source = "LPDDR5X, no',
        'source = "LPDDR5X, no',
        r"^dram.energy.status is mis",
    ),
    "missing key": ("[accumulator] # of one array\nsize", "[accumulator]\nread2", r"^accumulator.size is missing from"),
    "unit": ('"GB/s"', '"Gbit/s"', r"^dram.bandwidth.unit must be one of TB/s, GB/s, .*KiB/s, not 'Gbit/s'$"),
    "other dimension": (
        'unit = "us"',
        'unit = "GHz"',
        r"^transition.latency.unit must be one of s, ms, us, .* not 'GHz'$",
    ),
    "status": ('status = "cited"', 'status = "guessed"', r"status must be measured, cited or assumed, not 'guessed'$"),
    "source": ('source = "a client chip"', 'source = ""', r"source must say where the number comes from, not ''$"),
    "negative": ("value = 68,", "value = -68,", r"^dram.bandwidth.value must be above 0 B/s, not -68 GB/s$"),
    "zero": ("rows = { value = 128", "rows = { value = 0", r"^array.rows.value must be at least 1, not 0$"),
    "fraction": (
        "rows = { value = 128",
        "rows = { value = 1.5",
        r"^array.rows.value must be a whole number, not 1.5$",
    ),
    "share": ("value = 0.92", "value = 1.92", r"^dram.efficiency.value must be at most 1, not 1.92$"),
    "text": ("value = 68,", 'value = "68",', r"^dram.bandwidth.value must be a number, not '68'$"),
    "not a number": ("value = 68,", "value = nan,", r"^dram.bandwidth.value must be a number, not nan$"),
    "bare": (
        "bandwidth = { value = 68,",
        "bandwidth = 68 #",
        r"^dram.bandwidth must be a table with value, unit, status",
    ),
    "load": ('"double"', '"triple"', r"^array.weight_load must be one of none, single, double, not 'triple'$"),
    "clocks": ('clocks = "profile"', 'clocks = "hope"', r"^array.clocks must be claimed or profile, not 'hope'$"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_refused(change: tuple[str, str, str]) -> None:
    old, new, sentence = change
    text = _text()
    assert old in text
    with pytest.raises(TargetError, match=sentence):
        parse_target(text.replace(old, new, 1).encode())


def test_points_must_ascend() -> None:
    text = _text("paper_tpu").replace("value = 2.4", "value = 1.4")
    with pytest.raises(TargetError, match=r"^points\[1\].frequency must be above the one before it; points ascend$"):
        parse_target(text.encode())


def test_names_and_kinds_are_checked(tmp_path: Path) -> None:
    with pytest.raises(
        TargetError, match=r"^target must be one of edge_lpddr5x, .* or the path of a .toml file, not 'x'"
    ):
        read_target("x")
    with pytest.raises(TargetError, match=r"^a target must be a file, but .*none.toml does not exist$"):
        read_target(tmp_path / "none.toml")
    with pytest.raises(TargetError, match=r"h200 is a roofline; choose edge_lpddr5x, paper_tpu or tpuv4i_like$"):
        read_systolic("h200")
    with pytest.raises(TargetError, match=r"^target must be a GPU or CPU \(a roofline\) here, and paper_tpu is"):
        read_gpu("paper_tpu")
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(TargetError, match=r"large.toml must be at most 1,048,576 bytes, not 1,048,577$"):
        read_target(large)
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(TargetError, match=r"folder.toml must be a regular file, and is not$"):
        read_target(tmp_path / "folder.toml")
    for raw in (b"\xff\xfe", b"[1]", b""):
        with pytest.raises(TargetError):
            parse_target(raw)


def _changed_target(**changes: object) -> bytes:
    text = (resources.files("haloquant") / "data" / "targets" / "paper_tpu.toml").read_text()
    document = tomllib.loads(text)
    document["array"]["rows"] |= changes
    return tomli_w.dumps(document).encode()


def test_an_accelerator_has_a_finite_number_of_rows() -> None:
    for value in (float("inf"), 10**400):
        with pytest.raises(TargetError, match=r"^array\.rows\.value must be finite; only sizes and bandwidths may"):
            parse_target(_changed_target(value=value))
    with pytest.raises(TargetError, match=r"^array\.rows\.value must be at most 1048576, not 1e\+30$"):
        parse_target(_changed_target(value=1e30))
