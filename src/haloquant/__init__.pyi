from .api.machines.design_search import codesign as codesign
from .api.machines.simulation import simulate as simulate
from .api.macs.circuits import characterize as characterize
from .api.models.evaluation import compare as compare
from .api.models.evaluation import evaluate as evaluate
from .api.models.evaluation import evaluate_tasks as evaluate_tasks
from .api.models.model_transfer import transfer as transfer
from .api.models.packed_models import export as export
from .api.models.packed_models import load as load
from .api.models.packed_models import verify as verify
from .api.models.quantization import quantize as quantize
from .api.models.quantization_forecast import forecast as forecast
from .api.models.recovery import recover as recover
from .api.recipe_jobs import draw_report as draw_report
from .api.recipe_jobs import explore as explore
from .api.recipe_jobs import run as run
from .api.recipe_jobs import validate as validate
from .version import __version__ as __version__

__all__ = [
    "__version__",
    "characterize",
    "codesign",
    "compare",
    "draw_report",
    "evaluate",
    "evaluate_tasks",
    "explore",
    "export",
    "forecast",
    "load",
    "quantize",
    "recover",
    "run",
    "simulate",
    "transfer",
    "validate",
    "verify",
]
