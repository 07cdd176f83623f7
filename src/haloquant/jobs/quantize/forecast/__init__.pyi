from .machine_rates import Rates as Rates
from .machine_rates import measure_rates as measure_rates
from .model_sizes import ModelSizes as ModelSizes
from .model_sizes import sizes_of_checkpoint as sizes_of_checkpoint
from .model_sizes import sizes_of_shape as sizes_of_shape
from .plan import Plan as Plan
from .plan import predict as predict

__all__ = ["ModelSizes", "Plan", "Rates", "measure_rates", "predict", "sizes_of_checkpoint", "sizes_of_shape"]
