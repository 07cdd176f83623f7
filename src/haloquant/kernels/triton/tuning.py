"""Ways to divide a kernel's work, in rows and warps a program: the best is measured on the board by Triton's tuner.

It is measured when a shape is first met, for it could not be known without a board.
"""

from typing import Any

import triton

# The interpreter has no clock to tune by: there all kernels run with the first.
_TUNED = not triton.knobs.runtime.interpret  # type: ignore[attr-defined]


def ways(found: list[tuple[int, int]]) -> list[triton.Config]:
    """Rows and warps as the tuner takes them."""
    return [triton.Config({"ROWS": rows}, num_warps=warps) for rows, warps in (found if _TUNED else found[:1])]


def _fitting(configs: list[triton.Config], arguments: dict[str, Any], **sizes: Any) -> list[triton.Config]:
    """Leave out blocks of more rows than a tile has."""
    tile = sizes["TILE_OUT"] if "TILE_OUT" in sizes else arguments["TILE_OUT"]
    return [one for one in configs if one.kwargs["ROWS"] <= max(16, tile)] or configs[:1]


PRUNE = {"early_config_prune": _fitting}
