from .cycles import WeightLoad as WeightLoad
from .cycles import drain_cycles as drain_cycles
from .cycles import first_load_cycles as first_load_cycles
from .cycles import run_cycles as run_cycles
from .group_cost import cost_of_groups as cost_of_groups
from .layer_work import LayerWork as LayerWork
from .layer_work import layer_works as layer_works
from .memory_traffic import MemoryTraffic as MemoryTraffic
from .memory_traffic import layer_traffic as layer_traffic
from .phase_cost import PassCost as PassCost
from .phase_cost import cost_of_phases as cost_of_phases
from .step_cost import CostModel as CostModel
from .step_cost import StepCost as StepCost
from .step_cost import cost_of_step as cost_of_step
from .time_bounds import StepTime as StepTime
from .time_bounds import step_time as step_time

__all__ = [
    "CostModel",
    "LayerWork",
    "MemoryTraffic",
    "PassCost",
    "StepCost",
    "StepTime",
    "WeightLoad",
    "cost_of_groups",
    "cost_of_phases",
    "cost_of_step",
    "drain_cycles",
    "first_load_cycles",
    "layer_traffic",
    "layer_works",
    "run_cycles",
    "step_time",
]
