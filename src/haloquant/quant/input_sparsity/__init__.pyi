from .levels import InputAllocation as InputAllocation
from .levels import allocate_levels as allocate_levels
from .scores import InputMask as InputMask
from .scores import column_norms as column_norms
from .scores import input_scores as input_scores
from .scores import score_thresholds as score_thresholds

__all__ = [
    "InputAllocation",
    "InputMask",
    "allocate_levels",
    "column_norms",
    "input_scores",
    "score_thresholds",
]
