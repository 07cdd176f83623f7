from .characterization import characterize as characterize
from .characterization import exhaustive_simulation as exhaustive_simulation
from .characterization import sampled_simulation as sampled_simulation
from .characterization import typical_conditions as typical_conditions
from .ports import MacPorts as MacPorts
from .ports import weight_values as weight_values
from .ports_file import parse_ports as parse_ports

__all__ = [
    "MacPorts",
    "characterize",
    "exhaustive_simulation",
    "parse_ports",
    "sampled_simulation",
    "typical_conditions",
    "weight_values",
]
