from .awq import AwqConfig as AwqConfig
from .input_scaling import InputScaling as InputScaling
from .input_scaling import scale_statistics as scale_statistics
from .input_scaling import scale_weight as scale_weight
from .smoothquant import SmoothQuantConfig as SmoothQuantConfig

__all__ = ["AwqConfig", "InputScaling", "SmoothQuantConfig", "scale_statistics", "scale_weight"]
