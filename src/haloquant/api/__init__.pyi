from .circuits import MacPath as MacPath
from .circuits import ValueRank as ValueRank
from .circuits import characterize as characterize
from .circuits import find_mac as find_mac
from .circuits import longest_path as longest_path
from .circuits import mac_names as mac_names
from .circuits import rank_weight as rank_weight
from .design_search import CodesignResult as CodesignResult
from .design_search import codesign as codesign
from .evaluation import compare as compare
from .evaluation import evaluate as evaluate
from .evaluation import evaluate_tasks as evaluate_tasks
from .explanations import explain_tiles as explain_tiles
from .mac_profiles import MacFigures as MacFigures
from .mac_profiles import ProfileDescription as ProfileDescription
from .mac_profiles import describe_profile as describe_profile
from .mac_profiles import list_profiles as list_profiles
from .machine_studies import Study as Study
from .machine_studies import check_claims as check_claims
from .machine_studies import compare_multipliers as compare_multipliers
from .machine_studies import estimate_gpu as estimate_gpu
from .machine_studies import meet_deadline as meet_deadline
from .machine_studies import sweep as sweep
from .machines import MachineComparison as MachineComparison
from .machines import SystemRun as SystemRun
from .machines import list_targets as list_targets
from .machines import simulate as simulate
from .measurement import measure as measure
from .measurement import platforms as platforms
from .model_transfer import transfer as transfer
from .packed_models import export as export
from .packed_models import load as load
from .packed_models import verify as verify
from .paper import check_paper as check_paper
from .partial_sums import measure_partial_sums as measure_partial_sums
from .quantization import Forecast as Forecast
from .quantization import Quantized as Quantized
from .quantization import forecast as forecast
from .quantization import quantize as quantize
from .recipe_jobs import draw_report as draw_report
from .recipe_jobs import explore as explore
from .recipe_jobs import run as run
from .recipe_jobs import validate as validate
from .recovery import recover as recover
from .result_files import save_results as save_results
from .tile_orders import PolicyComparison as PolicyComparison
from .tile_orders import schedule as schedule

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
    "estimate_gpu",
    "evaluate",
    "evaluate_tasks",
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
    "measure",
    "measure_partial_sums",
    "meet_deadline",
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
