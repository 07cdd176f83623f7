from .explanations import explain_attention as explain_attention
from .explanations import explain_tiles as explain_tiles
from .machines.design_search import CodesignResult as CodesignResult
from .machines.design_search import codesign as codesign
from .machines.fpga_cost import map_to_fpga as map_to_fpga
from .machines.measured_platforms import platforms as platforms
from .machines.result_files import save_results as save_results
from .machines.simulation import MachineComparison as MachineComparison
from .machines.simulation import SystemRun as SystemRun
from .machines.simulation import list_targets as list_targets
from .machines.simulation import simulate as simulate
from .machines.studies import Study as Study
from .machines.studies import check_claims as check_claims
from .machines.studies import compare_multipliers as compare_multipliers
from .machines.studies import estimate_gpu as estimate_gpu
from .machines.studies import meet_deadline as meet_deadline
from .machines.studies import sweep as sweep
from .machines.tile_orders import PolicyComparison as PolicyComparison
from .machines.tile_orders import schedule as schedule
from .macs.circuits import MacPath as MacPath
from .macs.circuits import ValueRank as ValueRank
from .macs.circuits import characterize as characterize
from .macs.circuits import find_mac as find_mac
from .macs.circuits import longest_path as longest_path
from .macs.circuits import mac_names as mac_names
from .macs.circuits import rank_weight as rank_weight
from .macs.libraries import merge_liberty as merge_liberty
from .macs.profiles import MacFigures as MacFigures
from .macs.profiles import ProfileDescription as ProfileDescription
from .macs.profiles import describe_profile as describe_profile
from .macs.profiles import list_profiles as list_profiles
from .models.evaluation import compare as compare
from .models.evaluation import evaluate as evaluate
from .models.evaluation import evaluate_tasks as evaluate_tasks
from .models.exit_evaluation import early_exit as early_exit
from .models.measurement import measure as measure
from .models.measurement import measure_ops as measure_ops
from .models.model_transfer import transfer as transfer
from .models.packed_models import export as export
from .models.packed_models import load as load
from .models.packed_models import verify as verify
from .models.partial_sums import measure_partial_sums as measure_partial_sums
from .models.quantization import Quantized as Quantized
from .models.quantization import quantize as quantize
from .models.quantization_forecast import Forecast as Forecast
from .models.quantization_forecast import forecast as forecast
from .models.recovery import recover as recover
from .paper import check_paper as check_paper
from .recipe_jobs import draw_report as draw_report
from .recipe_jobs import explore as explore
from .recipe_jobs import run as run
from .recipe_jobs import validate as validate

__all__ = [
    "Forecast",
    "MacFigures",
    "MacPath",
    "MachineComparison",
    "PolicyComparison",
    "ProfileDescription",
    "Quantized",
    "Study",
    "SystemRun",
    "ValueRank",
    "characterize",
    "check_claims",
    "check_paper",
    "codesign",
    "compare",
    "compare_multipliers",
    "describe_profile",
    "draw_report",
    "early_exit",
    "estimate_gpu",
    "evaluate",
    "evaluate_tasks",
    "explain_attention",
    "explain_tiles",
    "explore",
    "export",
    "find_mac",
    "forecast",
    "list_profiles",
    "list_targets",
    "load",
    "longest_path",
    "mac_names",
    "map_to_fpga",
    "measure",
    "measure_ops",
    "measure_partial_sums",
    "meet_deadline",
    "merge_liberty",
    "platforms",
    "quantize",
    "rank_weight",
    "recover",
    "run",
    "save_results",
    "schedule",
    "simulate",
    "sweep",
    "transfer",
    "validate",
    "verify",
]
