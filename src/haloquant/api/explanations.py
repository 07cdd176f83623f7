"""Why a finished job made a layer as it is."""

from pathlib import Path

from haloquant.api.arguments import path_text
from haloquant.jobs.explain_tiles import LayerReasons, explain_layer


def explain_tiles(out: str | Path, layer: str, method: str = "halo-bal") -> LayerReasons:
    """Return what decided the class of each tile of a layer in a finished run.

    Args:
        out: Output folder of a finished `haloquant run`.
        layer: Name of a linear layer, such as `model.layers.0.mlp.down_proj`.
        method: A HALO method of that run.

    Raises:
        InputError: The run is not finished, it has no such layer or method, or its predicted losses are missing.

    Example:
        ```python
        from haloquant.api import explain_tiles

        for line in explain_tiles("out/demo", "model.layers.0.mlp.down_proj").letters():
            print(line)
        ```
    """
    return explain_layer(Path(path_text("out", out)), layer, method)
