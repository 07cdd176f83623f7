from .comparison import AttentionChange as AttentionChange
from .comparison import compare_attention as compare_attention
from .token_importance import TokenClasses as TokenClasses
from .token_importance import find_thresholds as find_thresholds
from .watch import Watcher as Watcher
from .watch import check_watchable as check_watchable
from .watch import watched as watched

__all__ = [
    "AttentionChange",
    "TokenClasses",
    "Watcher",
    "check_watchable",
    "compare_attention",
    "find_thresholds",
    "watched",
]
