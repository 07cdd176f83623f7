"""The generator: every kind of unit, mapped onto a small library of our own and checked over all operands."""

from pathlib import Path

import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.logic_check import check_mac
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.rtl.generator import ROWS, MacSpec, generate, partitions_of, ports_of
from haloquant.eda.yosys import synthesize
from haloquant.errors import NetlistError
from support.mapping_library import mapping_library_text

LIBRARY = parse_liberty(mapping_library_text(), "mapping.lib")


SMALL = [
    MacSpec(rows=rows, tree="array", adder="rca", weight_bits=4, activation_bits=4)
    for rows in ROWS
    if rows != "onedigit"
]
ELEMENTS = [
    MacSpec(rows=rows, tree=tree, stage="cs4", weight_bits=bits, activation_bits=4, accumulator_bits=10)
    for rows, tree, bits in (
        ("boothw", "dadda", 3), ("bootha", "array", 4), ("boothm", "array", 4), ("mag", "array", 4),
        ("digits", "dadda", 4), ("bw", "array", 4), ("sx", "dadda", 3), ("sm", "array", 4), ("onedigit", "dadda", 4),
    )
] + [
    MacSpec(rows="digits", stage="cs4", bypass="both"),
    MacSpec(rows="bw", stage="reg", weight_bits=4, activation_bits=4, accumulator_bits=10),
]  # fmt: skip


SMALL += [
    MacSpec(rows="boothw", adder="ks", stage="fused", weight_bits=4, activation_bits=5, accumulator_bits=12),
    MacSpec(rows="bw", adder="bk", stage="mac", weight_bits=5, activation_bits=4, accumulator_bits=12),
    MacSpec(rows="sm", adder="ks", stage="pipe", weight_bits=4, activation_bits=4, accumulator_bits=10),
    MacSpec(rows="digits", adder="ks", bypass="both"),
    MacSpec(rows="bw", adder="ks", stage="save", weight_bits=4, activation_bits=4, accumulator_bits=10),
]


@pytest.mark.parametrize("spec", SMALL, ids=lambda spec: spec.name)
def test_every_kind_computes_what_it_should(spec: MacSpec, liberty: Path):
    parts = dict.fromkeys(partitions_of(spec), 1e-9)
    mapped = synthesize(generate(spec), liberty, 1e-9, abc_script="sharing", partitions=parts)
    netlist = parse_netlist(mapped.json_text, LIBRARY, ports_of(spec))
    assert check_mac(netlist, LIBRARY) > 0
    assert len(netlist.registers) == (spec.weight_bits + spec.activation_bits if spec.stage in ("pipe", "save") else 0)
    assert mapped.provenance["synthesis"].startswith("Yosys ")
    assert len(mapped.provenance["liberty_sha256"]) == 64


@pytest.mark.parametrize("spec", ELEMENTS, ids=lambda spec: spec.name)
def test_elements_compute_what_they_should_and_register_what_moves(spec: MacSpec, liberty: Path):
    parts = dict.fromkeys(partitions_of(spec), 1e-9)
    mapped = synthesize(generate(spec), liberty, 1e-9, abc_script="sharing", partitions=parts)
    netlist = parse_netlist(mapped.json_text, LIBRARY, ports_of(spec))
    assert check_mac(netlist, LIBRARY) > 0
    assert netlist.ports.latency == 2 and netlist.ports.partial_registered
    wide = spec.accumulator_bits
    assert netlist.result_net[wide] == 0  # no carry comes into bit 0 of the upper word
    # Both words of the partial sum, and at least one bit for each column of the product but the two lowest.
    assert len(netlist.registers) >= 2 * wide - 1 + spec.weight_bits + spec.activation_bits - 2


def test_a_defect_is_found(liberty: Path):
    spec = MacSpec(rows="bw", weight_bits=4, activation_bits=4)
    broken = generate(spec).replace(" = ~", " = ", 1)
    netlist = parse_netlist(synthesize(broken, liberty, 1e-9, abc_script="sharing").json_text, LIBRARY, ports_of(spec))
    with pytest.raises(NetlistError, match=r"mac must compute weight \* activation, but gives .* operands wrong"):
        check_mac(netlist, LIBRARY)


def test_names_are_unique():
    specs = [
        MacSpec(rows=rows, tree=tree, adder=adder, stage=stage, accumulator=accumulator)
        for rows in ROWS
        if rows not in ("native", "onedigit")
        for tree in ("array", "dadda")
        for adder in ("rca", "bk", "ks")
        for stage in ("mac", "pipe")
        for accumulator in ("rca", "bk", "ks")
    ]
    assert len({spec.name for spec in specs}) == len(specs)
    assert MacSpec().description == (
        "8x8 signed: radix-4 Booth recoding of the weight, Dadda tree, Brent-Kung adder; multiplier alone"
    )


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            MacSpec(rows="native", stage="fused"),
            r"the stage fused needs rows of partial products, not native",
        ),
        (MacSpec(bypass="lone"), r"a bypass needs stored digits, 8-bit weights"),
        (MacSpec(rows="native", stage="cs4"), r"the stage cs4 needs rows of partial products, not native"),
        (MacSpec(rows="onedigit", stage="mul"), r"the rows onedigit need the stage cs4, not mul"),
    ],
)
def test_what_cannot_be_generated(spec: MacSpec, sentence: str):
    with pytest.raises(NetlistError, match=sentence):
        generate(spec)
