"""Configurations of a kernel: rows and warps per program. Triton's tuner measures them on the GPU and keeps the best.

It measures when a shape occurs for the first time.
"""

from typing import Any

import triton

# The interpreter cannot measure times; there all kernels use the first configuration.
_TUNED = not triton.knobs.runtime.interpret  # type: ignore[attr-defined]


def configurations(choices: list[tuple[int, int]]) -> list[triton.Config]:
    """Return configurations for the tuner from pairs (rows, warps)."""
    return [triton.Config({"ROWS": rows}, num_warps=warps) for rows, warps in (choices if _TUNED else choices[:1])]


def _fitting(configs: list[triton.Config], arguments: dict[str, Any], **sizes: Any) -> list[triton.Config]:
    """Return the configurations whose blocks have no more rows than a tile; the first one if there are none."""
    tile = sizes["TILE_OUT"] if "TILE_OUT" in sizes else arguments["TILE_OUT"]
    return [one for one in configs if one.kwargs["ROWS"] <= max(16, tile)] or configs[:1]


PRUNE = {"early_config_prune": _fitting}
