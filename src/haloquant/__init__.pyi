from .api.circuits import characterize as characterize
from .api.design_search import codesign as codesign
from .api.evaluation import compare as compare
from .api.evaluation import evaluate as evaluate
from .api.evaluation import evaluate_tasks as evaluate_tasks
from .api.machines import simulate as simulate
from .api.model_transfer import transfer as transfer
from .api.packed_models import export as export
from .api.packed_models import load as load
from .api.packed_models import verify as verify
from .api.quantization import forecast as forecast
from .api.quantization import quantize as quantize
from .api.recipe_jobs import draw_report as draw_report
from .api.recipe_jobs import explore as explore
from .api.recipe_jobs import run as run
from .api.recipe_jobs import validate as validate
from .api.recovery import recover as recover
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
