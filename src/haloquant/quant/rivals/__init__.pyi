from .registry import RIVALS as RIVALS
from .registry import Rival as Rival
from .registry import rival as rival

__all__ = ["RIVALS", "Rival", "rival"]
