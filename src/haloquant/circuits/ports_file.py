"""Read the TOML file in which a user declares the ports of a MAC."""

from typing import Literal

import msgspec

from haloquant.circuits.number_formats import FLOAT8_BITS, OperandFormat, SumFormat, sum_bits_of
from haloquant.circuits.ports import MacPorts
from haloquant.errors import MALFORMED, NetlistError

FileEncoding = Literal["twos_complement", "sign_magnitude", "booth_digits", "one_digit"]  # that a ports file can name

_MAX_BITS = 64
_MAX_VALUE_BITS = 16  # of a weight and of an activation
_MAX_LATENCY = 64


def parse_ports(toml_text: str) -> MacPorts:
    """Read the TOML text that declares the ports of a user's MAC.

    Args:
        toml_text: keys as in `MacPorts`; a missing key has its default; `partial = ""` means that there is no such
        port.

    Raises:
        NetlistError: If the text is not TOML, has an unknown key, or has a width out of range.
    """
    try:
        ports = msgspec.toml.decode(toml_text.removeprefix("\ufeff"), type=_PortsFile)
    except MALFORMED as error:
        raise NetlistError(
            f"the ports file must be TOML with the keys of MacPorts, not what was given: {error}"
        ) from error
    for name in ("weight_bits", "activation_bits", "result_bits"):
        width = getattr(ports, name)
        if not 1 <= width <= _MAX_BITS:
            raise NetlistError(f"{name} must be 1 to {_MAX_BITS}, not {width}")
    for name, width in (("weight_bits", _value_bits(ports)), ("activation_bits", ports.activation_bits)):
        if width > _MAX_VALUE_BITS:
            raise NetlistError(f"{name} must hold numbers of at most {_MAX_VALUE_BITS} bits, not of {width}")
    if not 0 <= ports.latency <= _MAX_LATENCY:
        raise NetlistError(f"latency must be 0 to {_MAX_LATENCY} clock edges, not {ports.latency}")
    if ports.latency and not ports.clock:
        raise NetlistError(
            f"a latency of {ports.latency} clock edges must come with a clock, but clock is not declared"
        )
    if ports.encoding == "booth_digits" and ports.weight_bits % 3:
        raise NetlistError(f"weight_bits must be a multiple of 3 for stored Booth digits, not {ports.weight_bits}")
    if ports.encoding == "one_digit" and ports.weight_bits < 2:
        raise NetlistError(f"weight_bits must be at least 2 for weights of one digit, not {ports.weight_bits}")
    for name, value in (*ports.tied.items(), *ports.parameters.items()):
        if not -(1 << (_MAX_BITS - 1)) <= value < 1 << _MAX_BITS:
            raise NetlistError(f"the value of {name:.80} must fit {_MAX_BITS} bits, not be {value}")
    if ports.carry_save and ports.result_bits % 2:
        raise NetlistError(f"result_bits must be even for two words in carry-save form, not {ports.result_bits}")
    if ports.carry_save and ports.saturates:
        raise NetlistError("saturates must come without carry_save: two words whose sum counts do not saturate")
    _check_formats(ports)
    fields = {name: getattr(ports, name) for name in ports.__struct_fields__}
    fields.update(partial=ports.partial or None, clock=ports.clock or None, tied=tuple(ports.tied.items()),
        parameters=tuple(ports.parameters.items()),
    )  # fmt: skip
    return MacPorts(**fields)


class _PortsFile(msgspec.Struct, forbid_unknown_fields=True):
    weight: str = "weight"
    activation: str = "activation"
    result: str = "result"
    partial: str = "partial"
    clock: str = ""
    weight_bits: int = 8
    activation_bits: int = 8
    result_bits: int = 24
    encoding: FileEncoding = "twos_complement"
    latency: int = 0
    tied: dict[str, int] = {}
    carry_save: bool = False
    partial_registered: bool = False
    unsigned_activation: bool = False
    saturates: bool = False
    unchecked: bool = False
    weight_format: OperandFormat = "integer"
    activation_format: OperandFormat = "integer"
    result_format: SumFormat = "fixed"
    flushes: bool = False
    top: str = "mac"
    parameters: dict[str, int] = {}


def _check_formats(ports: _PortsFile) -> None:
    """Refuse formats that do not fit the widths or the other keys.

    Raises:
        NetlistError: One does not.
    """
    for name, form, bits in (
        ("weight", ports.weight_format, ports.weight_bits),
        ("activation", ports.activation_format, ports.activation_bits),
    ):
        if form != "integer" and bits != FLOAT8_BITS:
            raise NetlistError(f"{name}_bits must be {FLOAT8_BITS} with {name}_format = {form}, not {bits}")
    if ports.weight_format != "integer" and ports.encoding != "twos_complement":
        raise NetlistError(f"a weight_format must come with plain pins, without encoding = {ports.encoding}")
    if ports.activation_format != "integer" and ports.unsigned_activation:
        raise NetlistError("an activation_format must come without unsigned_activation: a float has a sign")
    if ports.result_format == "fixed":
        if ports.flushes:
            raise NetlistError(
                "flushes must come with a result_format of a float: fixed point has no subnormal numbers"
            )
        return
    width = sum_bits_of(ports.result_format)
    if ports.result_bits != width or ports.carry_save:
        kind = "two words in carry-save form" if ports.carry_save else f"{ports.result_bits}"
        raise NetlistError(f"result_bits must be {width} with result_format = {ports.result_format}, not {kind}")


def _value_bits(ports: _PortsFile) -> int:
    """Return the bits of the numbers that the weight pins hold."""
    return ports.weight_bits // 3 * 2 if ports.encoding == "booth_digits" else ports.weight_bits
