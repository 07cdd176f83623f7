"""Every MAC that the generator knows, by name: its Verilog, its ports, and the timing targets of its modules."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from haloquant.circuits.ports import MacPorts
from haloquant.circuits.ports_file import parse_ports
from haloquant.circuits.rtl.adder_trees import Tree
from haloquant.circuits.rtl.bit_serial import generate_serial, serial_ports
from haloquant.circuits.rtl.bypass import Bypass
from haloquant.circuits.rtl.carry_adders import BLOCKS, PLAIN, Adder
from haloquant.circuits.rtl.dot_products import dot_ports, dot_specs, generate_dot
from haloquant.circuits.rtl.floating_point import float_ports, float_specs, generate_float
from haloquant.circuits.rtl.generator import MacSpec, Rows, Stage, generate, partitions_of, ports_of
from haloquant.errors import InputError, NetlistError
from haloquant.jobs.mac.verilog_files import MAX_RTL, read_verilog
from haloquant.store.atomic_files import read_bounded

ELEMENT_BITS = ((8, 8), (4, 8), (3, 8), (4, 4))  # weight and activation bits of the elements of the stage cs4
BLOCK_STAGES: tuple[Stage, ...] = ("mul", "mac", "fused")  # of units whose adders work in blocks
SERIAL = {"serial": 8, "serialw4a8": 4}  # the bit-serial MACs: weight bits by name
# Target period of each separately mapped module as a fraction of the MAC's: bypass paths get a tighter target than the
# adder tree.
PART_PERIODS = {"whole": 1.0, "upper": 1 / 2, "lone": 1 / 3, "accumulate": 1 / 3, "hold": 1.0}
# Target period for the multiplexers that merge the bypasses; every path passes through them.
MULTIPLEXER_PERIOD = 1 / 6


@dataclass(frozen=True)
class MacSource:
    """A MAC as Verilog with declared ports.

    `parts` are the modules that are mapped separately, with their target periods as fractions of the MAC's, slowest
    first; `period` is that of all other gates. The inputs of the parts in `driven` come from registers. A product
    takes `cycles` clock cycles.
    """

    name: str
    description: str
    verilog: str
    ports: MacPorts
    parts: tuple[tuple[str, float], ...] = ()
    period: float = 1.0
    driven: tuple[str, ...] = ()
    cycles: int = 1


def mac_specs() -> dict[str, MacSpec]:
    """Return every parallel MAC that the generator knows, by name. Names with `w4a8` have four weight bits."""
    specs: list[MacSpec] = _elements()
    for rows in get_args(Rows):
        native = rows == "native"  # the synthesizer chooses its structure, so it has one tree and one adder
        for tree in get_args(Tree)[: 1 if native else None]:
            for adder in PLAIN[: 1 if native else None]:
                for stage in get_args(Stage):
                    if not (native and stage == "fused") and stage != "cs4" and rows != "onedigit":
                        specs += _variants(rows, tree, adder, stage)
    specs += _block_adders()
    return {spec.name: spec for spec in specs}


def _block_adders() -> list[MacSpec]:
    """Return the units whose adders work in blocks: one adder for the product and for the accumulator, 8 bits."""
    return [
        MacSpec(rows, tree, adder, stage, adder if stage == "mac" else "bk")
        for rows in get_args(Rows)
        if rows not in ("native", "onedigit")
        for tree in get_args(Tree)
        for adder in BLOCKS
        for stage in BLOCK_STAGES
    ]


def _elements() -> list[MacSpec]:
    """Return the processing elements whose product stays in two words, with every width and bypass."""
    found = [
        MacSpec(rows, tree, stage="cs4", weight_bits=weight, activation_bits=activation)
        for rows in get_args(Rows)
        if rows not in ("native", "onedigit")
        for tree in get_args(Tree)
        for weight, activation in ELEMENT_BITS
        if not (rows == "digits" and weight % 2)  # three stored bits are as many digits as four
    ]
    found += [
        MacSpec("digits", tree, stage="cs4", bypass=bypass)
        for tree in get_args(Tree)
        for bypass in get_args(Bypass)
        if bypass != "none"
    ]
    return [*found, *(MacSpec("onedigit", stage="cs4", weight_bits=bits) for bits in (3, 4, 5, 7))]


def mac_names() -> list[str]:
    """Return the names of all MACs, sorted."""
    return sorted([*mac_specs(), *dot_specs(), *float_specs(), *SERIAL])


def generated_mac(name: str) -> MacSource:
    """Return the generated MAC of that name.

    Raises:
        InputError: There is none of that name.
    """
    if name in SERIAL:
        bits = SERIAL[name]
        text = f"{bits}x8 signed: bit-serial, one adder, one activation bit a cycle"
        ports = serial_ports(bits)
        return MacSource(name, text, generate_serial(bits), ports, cycles=ports.latency)
    dots = dot_specs()
    if name in dots:
        spec, parts = dots[name], (("accumulate", 1.0),)
        return MacSource(name, spec.description, generate_dot(spec), dot_ports(spec), parts, driven=("accumulate",))
    floats = float_specs()
    if name in floats:
        return MacSource(name, floats[name].description, generate_float(floats[name]), float_ports(floats[name]))
    specs = mac_specs()
    if name not in specs:
        raise InputError(
            "the MAC must be named <rows><tree>_<adder>-<stage>, <rows><tree>-cs4 or <words>x<products>-dot, such as "
            f"{closest_names(name, mac_names())}; not {name!r}. "
            "`haloquant characterize --list` shows all"
        )
    return mac_from_spec(specs[name])


def mac_from_spec(spec: MacSpec) -> MacSource:
    """Return the MAC of a specification, with the target periods for MACs of its kind."""
    # In an element of the stage cs4 the accumulator is a pipeline stage of its own, with the whole period.
    own = {**PART_PERIODS, "accumulate": 1.0} if spec.stage == "cs4" else PART_PERIODS
    parts = tuple((part, own[part]) for part in partitions_of(spec))
    period = MULTIPLEXER_PERIOD if spec.bypass != "none" else 1.0
    driven = ("accumulate",) if spec.stage in ("pipe", "cs4") else ()
    return MacSource(spec.name, spec.description, generate(spec), ports_of(spec), parts, period, driven)


def mac_from_rtl(verilog: Sequence[Path], ports: Path, include: Sequence[Path] = ()) -> MacSource:
    """Return a MAC from Verilog, with a TOML file that declares its ports. It has the name of the first file.

    Args:
        verilog: The files of the design, read in this order as if they were one.
        ports: The TOML file.
        include: Folders in which files that Verilog includes are looked for, after the folder of the file that
            includes them.

    Raises:
        InputError: A file, a folder or an included file does not exist or is too large.
        NetlistError: The ports file is malformed.
    """
    text = read_verilog(verilog, include)
    declared_text = read_bounded(ports, MAX_RTL).decode("utf-8", "replace")
    try:
        declared = parse_ports(declared_text)
    except NetlistError as error:
        raise NetlistError(f"{ports}: {error}") from error
    names = ", ".join(file.name for file in verilog)
    return MacSource(verilog[0].stem, f"{names}, ports by {ports.name}", text, declared)


def closest_names(name: str, known: Iterable[str], count: int = 4) -> str:
    """Return the known names that are most similar to a wrong one, separated by commas, for an error message."""
    return ", ".join(get_close_matches(name, list(known), count, 0.0))


def _variants(rows: Rows, tree: Tree, adder: Adder, stage: Stage) -> list[MacSpec]:
    """Return the specifications of one structure with every accumulator, weight width and bypass."""
    bypasses = get_args(Bypass) if rows == "digits" and stage != "fused" else ("none",)
    return [
        MacSpec(rows, tree, adder, stage, accumulator, bypass, weight_bits=bits)
        for accumulator in (PLAIN if stage in ("mac", "pipe") else ("bk",))
        for bits in (8, 4)
        for bypass in (bypasses if bits == 8 else ("none",))
    ]
