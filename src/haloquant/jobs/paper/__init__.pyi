from .fair_machines import fair_comparisons as fair_comparisons
from .report import Judged as Judged
from .report import paper_report as paper_report

__all__ = [
    "Judged",
    "fair_comparisons",
    "paper_report",
]
