"""Every MAC the generator knows, by name: its Verilog, its ports, and how its parts are to be mapped."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from haloquant.circuits.ports import MacPorts, parse_ports
from haloquant.circuits.rtl.adder_trees import Adder, Tree
from haloquant.circuits.rtl.bit_serial import generate_serial, serial_ports
from haloquant.circuits.rtl.bypass import Bypass
from haloquant.circuits.rtl.generator import MacSpec, Rows, Stage, generate, partitions_of, ports_of
from haloquant.errors import InputError
from haloquant.store.atomic_files import read_bounded

MAX_RTL = 1 << 24
SERIAL = {"serial": 8, "serialw4a8": 4}  # weight bits by name
PART_PERIODS = {"whole": 1.0, "upper": 1 / 2, "lone": 1 / 3, "accumulate": 1 / 3, "hold": 1.0}
"""Period of a part mapped alone, relative to the unit's: a way around the tree is to be faster than the tree."""
AROUND_PERIOD = 1 / 6  # of the gates that join such parts: they stand in every way


@dataclass(frozen=True)
class Source:
    """A MAC as Verilog with its ports declared.

    `parts` are modules to be mapped alone, with their periods relative to the unit's, slowest first; `period` is that
    of everything else. The inputs of the parts in `driven` come from registers. A product takes `cycles` of them.
    """

    name: str
    description: str
    verilog: str
    ports: MacPorts
    parts: tuple[tuple[str, float], ...] = ()
    period: float = 1.0
    driven: tuple[str, ...] = ()
    cycles: int = 1


def all_specs() -> dict[str, MacSpec]:
    """Every parallel MAC the generator knows by its name; names with `w4a8` have four weight bits."""
    specs: list[MacSpec] = []
    for rows in get_args(Rows):
        native = rows == "native"  # its structure is the synthesizer's, so it has one tree and one adder
        for tree in get_args(Tree)[: 1 if native else None]:
            for adder in get_args(Adder)[: 1 if native else None]:
                for stage in get_args(Stage):
                    if not (native and stage == "fused"):
                        specs += _of(rows, tree, adder, stage)
    return {spec.name: spec for spec in specs}


def names() -> list[str]:
    """The names of all units, in order."""
    return sorted([*all_specs(), *SERIAL])


def generated(name: str) -> Source:
    """A MAC of ours by its name.

    Raises:
        InputError: there is none of that name.
    """
    if name in SERIAL:
        bits = SERIAL[name]
        text = f"{bits}x8 signed: bit-serial, one adder, one activation bit a cycle"
        ports = serial_ports(bits)
        return Source(name, text, generate_serial(bits), ports, cycles=ports.latency)
    specs = all_specs()
    if name not in specs:
        raise InputError(
            f"the MAC must be named <rows><tree>_<adder>-<stage>, such as {nearest(name, names())}; not {name!r}. "
            "`haloquant characterize --list` shows all"
        )
    return of_spec(specs[name])


def of_spec(spec: MacSpec) -> Source:
    """A MAC of ours by its specification, with the periods that units of its kind are mapped to."""
    parts = tuple((part, PART_PERIODS[part]) for part in partitions_of(spec))
    period = AROUND_PERIOD if spec.bypass != "none" else 1.0
    driven = ("accumulate",) if spec.stage == "pipe" else ()
    return Source(spec.name, spec.description, generate(spec), ports_of(spec), parts, period, driven)


def from_rtl(verilog: Path, ports: Path) -> Source:
    """A person's own MAC: Verilog whose top module is `mac`, and a TOML file that declares its ports."""
    text = read_bounded(verilog, MAX_RTL).decode("utf-8", "replace")
    declared = parse_ports(read_bounded(ports, MAX_RTL).decode("utf-8", "replace"))
    return Source(verilog.stem, f"{verilog.name}, ports by {ports.name}", text, declared)


def nearest(name: str, known: Iterable[str], count: int = 4) -> str:
    """The known names most like a wrong one, as a list for a sentence."""
    return ", ".join(get_close_matches(name, list(known), count, 0.0))


def _of(rows: Rows, tree: Tree, adder: Adder, stage: Stage) -> list[MacSpec]:
    """The accumulators, widths and bypasses of one structure."""
    ways = get_args(Bypass) if rows == "digits" and stage != "fused" else ("none",)
    return [
        MacSpec(rows, tree, adder, stage, accumulator, bypass, weight_bits=bits)
        for accumulator in (get_args(Adder) if stage in ("mac", "pipe") else ("bk",))
        for bits in (8, 4)
        for bypass in (ways if bits == 8 else ("none",))
    ]
