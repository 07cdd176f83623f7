"""The bit-serial MAC."""

from pathlib import Path

import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.logic_check import check_mac
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.rtl.bit_serial import generate_serial, serial_ports
from haloquant.eda.yosys import synthesize
from haloquant.errors import NetlistError
from support.mapping_library import mapping_library_text

LIBRARY = parse_liberty(mapping_library_text(), "mapping.lib")


def test_the_bit_serial_unit(liberty: Path):
    netlist = parse_netlist(
        synthesize(generate_serial(4, 4, 10), liberty, 1e-9, abc_script="sharing").json_text,
        LIBRARY,
        serial_ports(4, 4, 10),
    )
    assert check_mac(netlist, LIBRARY) == 3 * 256
    with pytest.raises(NetlistError, match=r"a bit-serial MAC must have 2, 4, 8 or 16 activation bits, not 6"):
        generate_serial(activation_bits=6)
    with pytest.raises(NetlistError, match=r"the accumulator must have at least 16 bits, not 12"):
        generate_serial(accumulator_bits=12)
