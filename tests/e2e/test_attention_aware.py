"""BoA in the whole job is the attention-aware method: its row Hessians are collected, and change what it rounds to."""

from pathlib import Path

import numpy as np
import pytest

from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_steps import finish_method, rival_method
from haloquant.jobs.compare.rivals import quantize_rival
from haloquant.jobs.inputs import read_inputs, silent
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
        error = (made[layer].weight - weights[layer]).astype(np.float64).reshape(g.shape[0], g.shape[1], -1)
        total += float(np.einsum("hab,hbi,ij,haj->", g, error, statistics[layer].hessian, error, optimize=True))
    return total


def test_the_boa_row_is_attention_aware(tiny_folder: Path, small_text: Path, tmp_path: Path) -> None:
    made = bench(tiny_folder, small_text, tmp_path)
    rows = made.row_hessians
    assert {layer.rsplit(".", 1)[1] for layer in rows} == {"q_proj", "k_proj", "v_proj"}
    row = finish_method(made, rival_method(made, "boa-w3-g128", "boa-w3-g128"))
    assert row.notes == (boa.NOTE_AWARE, boa.NOTE_PLAIN)
    args = (made.weights, made.statistics, lambda done, total: None)
    aware = quantize_rival("boa-w3-g128", *args, rows)
    plain = quantize_rival("gptq-w3-g128", *args)
    for layer in made.weights:
        same = np.array_equal(aware[layer].weight, plain[layer].weight)
        assert same == (layer not in rows)
    # The loss that it is for is less, over the whole model.
    losses = [attention_loss(found, made.weights, made.statistics, rows) for found in (aware, plain)]
    assert losses[0] < losses[1]
    assert made.folders["boa-w3-g128"] != made.folders["row-hessians"]
    again = bench(tiny_folder, small_text, tmp_path)
    assert set(again.row_hessians) == set(rows)
    assert "row-hessians" in again.reused


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
    assert finish_method(made, rival_method(made, "boa-w3-g128", "boa-w3-g128")).notes == (boa.NOTE_PLAIN,)
