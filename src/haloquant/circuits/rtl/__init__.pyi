from .adder_cells import adder_verilog as adder_verilog
from .bit_serial import generate_serial as generate_serial
from .bit_serial import serial_ports as serial_ports
from .generator import MacSpec as MacSpec
from .generator import generate as generate
from .generator import partitions_of as partitions_of
from .generator import ports_of as ports_of

__all__ = [
    "MacSpec",
    "adder_verilog",
    "generate",
    "generate_serial",
    "partitions_of",
    "ports_of",
    "serial_ports",
]
