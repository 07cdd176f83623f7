"""The part of the JSON of Yosys' `write_json` that describes a mapped netlist."""

import msgspec

from haloquant.errors import MALFORMED, NetlistError

Bit = int | str  # a net's number, or a constant: "0", "1", "x", "z"


class Port(msgspec.Struct, frozen=True):
    """A port of a module; bit 0 of `bits` is the least significant."""

    direction: str
    bits: list[Bit]


class Instance(msgspec.Struct, frozen=True):
    """A cell of a module: its type and the nets at its pins."""

    type: str
    connections: dict[str, list[Bit]]


class NetName(msgspec.Struct, frozen=True):
    """A name of some nets. `hide_name` is 1 if the tool generated the name."""

    bits: list[Bit]
    hide_name: int = 0


class Module(msgspec.Struct, frozen=True):
    """One module: its ports, its cells, the names of its nets, its attributes."""

    ports: dict[str, Port]
    cells: dict[str, Instance]
    netnames: dict[str, NetName] = {}
    attributes: dict[str, str | int] = {}


class _File(msgspec.Struct, frozen=True):
    modules: dict[str, Module]


def read_module(json_text: str) -> tuple[str, Module]:
    """Return the name and content of the module that is marked `top`, or of the only module that is not a black box.

    Raises:
        NetlistError: If the text is not such JSON, or if there is not exactly one such module.
    """
    try:
        modules = msgspec.json.decode(json_text, type=_File).modules
    except MALFORMED as error:
        raise NetlistError(f"a netlist must be JSON as Yosys' write_json writes it: {error}") from error
    real = {name: module for name, module in modules.items() if not {"blackbox", "whitebox"} & module.attributes.keys()}
    top = {name: module for name, module in real.items() if "top" in module.attributes} or real
    if len(top) != 1:
        raise NetlistError(
            f"the netlist must hold one module, or mark one as top, not {len(top)}: {', '.join(sorted(top)[:5])}; "
            "flatten the design first"
        )
    return next(iter(top.items()))
