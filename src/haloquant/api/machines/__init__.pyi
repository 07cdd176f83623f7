from .design_search import CodesignResult as CodesignResult
from .design_search import codesign as codesign
from .fpga_cost import map_to_fpga as map_to_fpga
from .measured_platforms import platforms as platforms
from .result_files import save_results as save_results
from .simulation import MachineComparison as MachineComparison
from .simulation import SystemRun as SystemRun
from .simulation import list_targets as list_targets
from .simulation import simulate as simulate
from .studies import Study as Study
from .studies import check_claims as check_claims
from .studies import compare_multipliers as compare_multipliers
from .studies import estimate_gpu as estimate_gpu
from .studies import meet_deadline as meet_deadline
from .studies import sweep as sweep
from .tile_orders import PolicyComparison as PolicyComparison
from .tile_orders import schedule as schedule

__all__ = [
    "CodesignResult",
    "MachineComparison",
    "PolicyComparison",
    "Study",
    "SystemRun",
    "check_claims",
    "codesign",
    "compare_multipliers",
    "estimate_gpu",
    "list_targets",
    "map_to_fpga",
    "meet_deadline",
    "platforms",
    "save_results",
    "schedule",
    "simulate",
    "sweep",
]
