from .deadline import meet_deadline as meet_deadline
from .deadline import race_to_idle as race_to_idle
from .gpu_roofline import GpuFormat as GpuFormat
from .gpu_roofline import gpu_pass as gpu_pass
from .gpu_roofline import what_if as what_if
from .results import Simulation as Simulation
from .rival_systems import System as System
from .rival_systems import float_system as float_system
from .rival_systems import uniform_system as uniform_system
from .roofline import roofline_points as roofline_points
from .roofline import roofs as roofs
from .simulation import simulate as simulate
from .system_comparison import Comparison as Comparison
from .system_comparison import compare_runs as compare_runs
from .system_comparison import run_system as run_system
from .target import GpuTarget as GpuTarget
from .target import Target as Target

__all__ = [
    "Comparison",
    "GpuFormat",
    "GpuTarget",
    "Simulation",
    "System",
    "Target",
    "compare_runs",
    "float_system",
    "gpu_pass",
    "meet_deadline",
    "race_to_idle",
    "roofline_points",
    "roofs",
    "run_system",
    "simulate",
    "uniform_system",
    "what_if",
]
