from .compressed_tensors import export_compressed as export_compressed
from .dequantized import export_dequantized as export_dequantized
from .folding import Fold as Fold
from .folding import folded_tensors as folded_tensors
from .folding import folds as folds
from .original_files import Exported as Exported
from .packed import export_packed as export_packed

__all__ = [
    "Exported",
    "Fold",
    "export_compressed",
    "export_dequantized",
    "export_packed",
    "folded_tensors",
    "folds",
]
