from .fair_machines import fair_comparisons as fair_comparisons
from .judged_model import JudgedModel as JudgedModel
from .report import paper_report as paper_report

__all__ = [
    "JudgedModel",
    "fair_comparisons",
    "paper_report",
]
