"""SqueezeLLM in the whole job is weighed by the Fisher of single tokens, as in the tables of results."""

from pathlib import Path

import numpy as np

from haloquant.jobs.compare.accuracy import measure_accuracy
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_steps import finish_methods, rival_method
from haloquant.jobs.inputs import read_inputs, silent
from haloquant.lm.calibration.in_memory import collect
from haloquant.lm.checkpoint.reader import read_weight
from haloquant.quant.rivals.registry import RIVALS
from haloquant.recipe import Model, Quantize, Recipe, Text, Workload
from haloquant.store.profiles import find_profile


def bench(folder: Path, text: Path, out: Path, rivals: tuple[str, ...]) -> JobSteps:
    recipe = Recipe(
        model=Model(str(folder)),
        text=Text(str(text), 256, str(text), 128),
        quantize=Quantize(goals=("bal",), rivals=rivals, sweep=(), compensate=False),
        workload=Workload(16, 1, 16),
    )
    return JobSteps(recipe, read_inputs(recipe), find_profile(recipe.hardware.profile), out, silent)


def test_the_squeezellm_row_is_weighed_by_tokens(tiny_folder: Path, small_text: Path, tmp_path: Path) -> None:
    made = bench(tiny_folder, small_text, tmp_path, ("squeezellm-w3",))
    step = rival_method(made, "squeezellm-w3", "squeezellm-w3")
    row = finish_methods(made, {"squeezellm-w3": step})["squeezellm-w3"]
    assert any("squared by token" in note for note in row.notes)
    checkpoint, windows = made.inputs.checkpoint, made.request.calibration
    assert windows is not None
    weights = {layer.name: read_weight(checkpoint, layer) for layer in checkpoint.layers}
    by_token, by_window = (
        collect(made.model, windows.reshape(-1), tuple(weights), windows.shape[1], len(windows), fisher=kind)
        for kind in ("token", "sample")
    )
    assert any(not np.array_equal(by_token[layer].fisher, by_window[layer].fisher) for layer in weights)
    method = RIVALS["squeezellm-w3"]
    found = measure_accuracy(
        made.model,
        {k: method.quantize(weight, by_token[k], layer=k).weight for k, weight in weights.items()},
        made.inputs.evaluation.tokens,
        made.recipe,
        lambda done, total: None,
    )
    assert row.accuracy == found
    again = bench(tiny_folder, small_text, tmp_path, ("squeezellm-w3",))
    assert again.token_statistics == made.token_statistics
    assert "calibrate-by-token" in again.reused


def test_only_a_rival_that_asks_costs_the_second_pass(tiny_folder: Path, small_text: Path, tmp_path: Path) -> None:
    made = bench(tiny_folder, small_text, tmp_path, ("gptq-w3-g128",))
    finish_methods(made, {"gptq-w3-g128": rival_method(made, "gptq-w3-g128", "gptq-w3-g128")})
    assert "calibrate-by-token" not in made.folders
    assert {name for name, method in RIVALS.items() if method.by_token} == {
        f"squeezellm-w{bits}{kind}" for bits in (4, 3) for kind in ("", "-sparse")
    }
