from .conditions import Conditions as Conditions
from .path_report import path_rows as path_rows
from .path_report import path_text as path_text
from .paths import WorstPath as WorstPath
from .paths import worst_path as worst_path
from .static_timing import Timing as Timing
from .static_timing import analyze_timing as analyze_timing
from .static_timing import static_delays as static_delays

__all__ = [
    "Conditions",
    "Timing",
    "WorstPath",
    "analyze_timing",
    "path_rows",
    "path_text",
    "static_delays",
    "worst_path",
]
