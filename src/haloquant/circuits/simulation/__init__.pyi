from .leakage import leakage_w as leakage_w
from .partial_sums import PartialSums as PartialSums
from .stimuli import Stimuli as Stimuli
from .stimuli import activation_stimuli as activation_stimuli
from .stimuli import default_stimuli as default_stimuli
from .stimuli import measured_stimuli as measured_stimuli
from .value_table import DynamicTable as DynamicTable
from .value_table import simulate_values as simulate_values
from .waveforms import Filter as Filter

__all__ = [
    "DynamicTable",
    "Filter",
    "PartialSums",
    "Stimuli",
    "activation_stimuli",
    "default_stimuli",
    "leakage_w",
    "measured_stimuli",
    "simulate_values",
]
