from .losses import EarlyExit as EarlyExit
from .losses import evaluate_exits as evaluate_exits
from .sentences import Deadline as Deadline
from .sentences import exits_under_deadline as exits_under_deadline

__all__ = [
    "Deadline",
    "EarlyExit",
    "evaluate_exits",
    "exits_under_deadline",
]
