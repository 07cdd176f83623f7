from .yosys import ABC_SCRIPTS as ABC_SCRIPTS
from .yosys import Synthesis as Synthesis
from .yosys import find_yosys as find_yosys
from .yosys import synthesize as synthesize

__all__ = [
    "ABC_SCRIPTS",
    "Synthesis",
    "find_yosys",
    "synthesize",
]
