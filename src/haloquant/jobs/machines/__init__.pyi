from .element_comparison import compare_elements as compare_elements
from .sweeps import deadline_runs as deadline_runs
from .sweeps import gpu_runs as gpu_runs
from .sweeps import paper_claims as paper_claims
from .sweeps import sweep_systems as sweep_systems
from .systems import QuantizedModel as QuantizedModel
from .systems import halo_system as halo_system
from .systems import load_packed as load_packed
from .systems import load_shape as load_shape
from .systems import rival_systems as rival_systems
from .systems import run_system as run_system

__all__ = [
    "QuantizedModel",
    "compare_elements",
    "deadline_runs",
    "gpu_runs",
    "halo_system",
    "load_packed",
    "load_shape",
    "paper_claims",
    "rival_systems",
    "run_system",
    "sweep_systems",
]
