"""Why a finished job made a layer as it is, and what that changed in attention."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from haloquant.api.arguments import check_count, path_text
from haloquant.api.progress import Progress, reporting
from haloquant.jobs.explain_tiles import LayerReasons, explain_layer, read_results
from haloquant.recipe import parse_recipe_json

if TYPE_CHECKING:
    from haloquant.lm.attention.comparison import AttentionChange


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


def explain_attention(
    out: str | Path, *, tokens: int = 1024, progress: Progress = True
) -> "tuple[AttentionChange, ...]":
    """Return how far the weights of a finished run changed what the model attends to, attention by attention.

    The packed model of the run is compared with the model that it was made of, both with activations in floating point,
    on windows of 256 tokens at most that are spread over the run's evaluation text.

    Args:
        out: Output folder of a finished `haloquant run`.
        tokens: Number of tokens, rounded down to whole windows (one at least); 0 takes the whole text.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        One record for each attention, in running order: the cosine of the maps of each head, and the spread of queries
        and keys in both models.

    Raises:
        InputError: The run is not finished, its model or its text is no longer there, the text is shorter than a
            window, or the model's attentions cannot be seen.
        MissingExtraError: torch or transformers is not installed.

    Example:
        ```python
        from haloquant.api import explain_attention

        for attention in explain_attention("out/demo"):
            print(attention.number, f"{attention.cosine:.4f}")
        ```
    """
    folder = Path(path_text("out", out))
    check_count("tokens", tokens, 0)
    with reporting(progress) as report:
        recipe = parse_recipe_json(read_results(folder).provenance["recipe"])
        # Imported here, because why tiles have their classes needs no torch.
        from haloquant.jobs.evaluation import open_model
        from haloquant.jobs.inputs import model_folder, model_window, read_text
        from haloquant.lm.attention.comparison import MOST_TOKENS, compare_attention
        from haloquant.lm.evaluation.perplexity import whole_windows

        source = model_folder(recipe.model.path)
        text = read_text(source, recipe.text.evaluation, "evaluation")
        window = min(model_window(source), MOST_TOKENS)
        windows = whole_windows(text.tokens, window, tokens, "the text of a comparison of attention", text.name)
        models = open_model(source).model, open_model(folder / "model").model
        return compare_attention(*models, windows, partial(report, "compare attention"))
