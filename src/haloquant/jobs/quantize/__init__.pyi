from .job import QuantizationResult as QuantizationResult
from .job import quantize_checkpoint as quantize_checkpoint
from .request import Request as Request
from .shared_storage import upload_model as upload_model

__all__ = ["QuantizationResult", "Request", "quantize_checkpoint", "upload_model"]
