"""Recipes: numbers that are out of range are refused."""

from pathlib import Path

import pytest

from haloquant.errors import RecipeError
from haloquant.recipe import parse_recipe, read_recipe


@pytest.mark.parametrize(
    "text",
    [
        "seed = 99999999999999999999",
        "[hardware]\ntile = 9223372036854775807",
        "[hardware]\nmargin = nan",
        "[hardware]\nmargin = 0.991",
        "[quantize]\nfast_loss_db = inf",
        "[quantize]\nsweep = [nan]",
        "[quantize]\ninput_sparsity = 1.5",
        "[quantize]\nsweep = [-1e400]",
        "[workload]\ndecode_batch = 4611686018427387904",
    ],
)
def test_a_recipe_holds_no_number_beyond_use(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^r must be a haloquant recipe in TOML: Expected "):
        parse_recipe(text.encode(), "r")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[quantize]\ngoals = ["acc"]', "`$.quantize.goals[0]`; it must be one of perf-opt, bal, acc-opt"),
        ('[quantize]\nactivations = "row"', "`$.quantize.activations`; it must be one of token, tensor, mixed, none"),
        ('[quantize]\nrefine = "all"', "`$.quantize.refine`; it must be a number, or auto"),
        ('[quantize]\ntransform = "gptq"', "`$.quantize.transform`; it must be one of none, smoothquant, awq"),
        ('[quantize]\ninput_allocation = "x"', "`$.quantize.input_allocation`; it must be one of uniform, divergence"),
        ("[workload]\ntokens = 1", "; the keys there are prefill_tokens, decode_batch, decode_context, shapes"),
        ("tokens = 1", "; the keys there are seed, device, model, text, hardware, quantize, workload"),
    ],
)
def test_what_would_do_is_listed(text: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text.encode(), "r")
    assert str(caught.value).endswith(sentence)


def test_an_empty_file_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("\n")
    with pytest.raises(RecipeError, match="is empty"):
        read_recipe(tmp_path / "recipe.toml")
