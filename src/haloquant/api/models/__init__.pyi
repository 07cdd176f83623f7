from .evaluation import compare as compare
from .evaluation import evaluate as evaluate
from .evaluation import evaluate_tasks as evaluate_tasks
from .exit_evaluation import early_exit as early_exit
from .measurement import measure as measure
from .measurement import measure_ops as measure_ops
from .model_transfer import transfer as transfer
from .packed_models import export as export
from .packed_models import load as load
from .packed_models import verify as verify
from .partial_sums import measure_partial_sums as measure_partial_sums
from .quantization import Quantized as Quantized
from .quantization import quantize as quantize
from .quantization_forecast import Forecast as Forecast
from .quantization_forecast import forecast as forecast
from .recovery import recover as recover

__all__ = [
    "Forecast",
    "Quantized",
    "compare",
    "early_exit",
    "evaluate",
    "evaluate_tasks",
    "export",
    "forecast",
    "load",
    "measure",
    "measure_ops",
    "measure_partial_sums",
    "quantize",
    "recover",
    "transfer",
    "verify",
]
