from .attention_hessian import collect_row_hessians as collect_row_hessians
from .by_block import collect_by_block as collect_by_block
from .by_block import perplexity_by_block as perplexity_by_block
from .in_memory import collect as collect
from .in_memory import cut_windows as cut_windows
from .statistics_file import load_statistics as load_statistics
from .statistics_file import save_statistics as save_statistics

__all__ = [
    "collect",
    "collect_by_block",
    "collect_row_hessians",
    "cut_windows",
    "load_statistics",
    "perplexity_by_block",
    "save_statistics",
]
