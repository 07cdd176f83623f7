"""BoA in the whole job is the attention-aware method: its row Hessians are collected, and change what it rounds to."""

from pathlib import Path

import numpy as np
import pytest

from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_files import MethodResult
from haloquant.jobs.compare.method_steps import finish_layers, finish_methods, rival_method
from haloquant.jobs.compare.rival_tasks import load_rival_weight
from haloquant.jobs.inputs import read_inputs, silent
from haloquant.lm.calibration.by_block import collect_by_block
from haloquant.lm.checkpoint.reader import read_weight
from haloquant.quant.rivals import boa
from haloquant.recipe import Model, Quantize, Recipe, Text, Workload
from haloquant.store.profiles import find_profile


def bench(folder: Path, text: Path, out: Path) -> JobSteps:
    quantize = Quantize(goals=("bal",), rivals=("boa-w3-g128", "gptq-w3-g128"), sweep=(), compensate=False)
    recipe = Recipe(
        model=Model(str(folder)),
        text=Text(str(text), 256, str(text), 128),
        quantize=quantize,
        workload=Workload(16, 1, 16),
    )
    return JobSteps(recipe, read_inputs(recipe), find_profile(recipe.hardware.profile), out, silent)


def attention_loss(made, weights, statistics, rows) -> float:
    """tr(G D H D^T) over the heads of every layer that has a row Hessian."""
    total = 0.0
    for layer, g in rows.items():
        error = (made[layer] - weights[layer]).astype(np.float64).reshape(g.shape[0], g.shape[1], -1)
        total += float(np.einsum("hab,hbi,ij,haj->", g, error, statistics[layer].hessian, error, optimize=True))
    return total


def rounded(made: JobSteps, name: str) -> tuple[MethodResult, dict[str, np.ndarray]]:
    """A rival's row, and the weights that the job made for it."""
    step = rival_method(made, name, name)
    assert step.layers is not None
    finish_layers(made, [step])
    layers = made.inputs.checkpoint.layers
    weights = {layer.name: load_rival_weight(made.passes.runner.folder(step.layers.key(layer))) for layer in layers}
    return finish_methods(made, {name: step})[name], weights


def test_the_boa_row_is_attention_aware(tiny_folder: Path, small_text: Path, tmp_path: Path) -> None:
    made = bench(tiny_folder, small_text, tmp_path)
    rows = made.row_hessians
    assert {layer.rsplit(".", 1)[1] for layer in rows} == {"q_proj", "k_proj", "v_proj"}
    row, aware = rounded(made, "boa-w3-g128")
    assert row.notes == (boa.NOTE_AWARE, boa.NOTE_PLAIN)
    _, plain = rounded(made, "gptq-w3-g128")
    checkpoint = made.inputs.checkpoint
    weights = {layer.name: read_weight(checkpoint, layer) for layer in checkpoint.layers}
    for layer in weights:
        same = np.array_equal(aware[layer], plain[layer])
        assert same == (layer not in rows)
    # The loss that it is for is less, over the whole model.
    windows = made.request.calibration
    assert windows is not None
    statistics = {layer.name: known for layer, known in collect_by_block(checkpoint, windows)}
    losses = [attention_loss(found, weights, statistics, rows) for found in (aware, plain)]
    assert losses[0] < losses[1]
    assert made.folders["boa-w3-g128"] != made.folders["row-hessians"]
    again = bench(tiny_folder, small_text, tmp_path)
    assert set(again.row_hessians) == set(rows)
    assert "row-hessians" in again.reused
    assert not list(tmp_path.glob("steps/boa-w3-g128-model*"))  # the float32 weights of a finished rival are deleted


def test_a_model_with_fused_projections_gets_plain_gptq_and_says_so(
    tiny_folder: Path, small_text: Path, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "neox"
    config = transformers.GPTNeoXConfig(
        vocab_size=257, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny_folder / name).read_bytes())
    made = bench(folder, small_text, tmp_path / "out")
    assert made.row_hessians == {}
    notes = rounded(made, "boa-w3-g128")[0].notes
    assert boa.NOTE_PLAIN in notes
    assert any("value rows are rounded with the Hessian weighted by attention" in note for note in notes)
