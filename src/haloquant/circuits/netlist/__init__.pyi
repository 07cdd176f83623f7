from .logic_check import check_mac as check_mac
from .logic_check import evaluate_mac as evaluate_mac
from .parser import Netlist as Netlist
from .parser import net_loads as net_loads
from .parser import parse_netlist as parse_netlist

__all__ = [
    "Netlist",
    "check_mac",
    "evaluate_mac",
    "net_loads",
    "parse_netlist",
]
