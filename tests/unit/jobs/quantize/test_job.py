"""Quantizing a checkpoint: refused weights, and layers of unusual shapes and values."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from haloquant.errors import CheckpointError
from haloquant.jobs.quantize.job import QuantizationResult, quantize_checkpoint
from haloquant.jobs.quantize.request import Request
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.packed.reader import iterate_layers, open_packed, verify
from haloquant.quant.layer import dequantize
from haloquant.recipe import Hardware, Recipe
from haloquant.store.profiles import find_profile
from support.hostile_files import CONFIG, ROLES

PROFILE = find_profile("default")


def _model(folder: Path, change: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = {f"model.layers.0.{role}.weight": rng.standard_normal(shape).astype("f4") for role, shape in ROLES.items()}
    arrays |= {f"{name}.weight": np.ones((16, 8), np.float32) for name in ("model.embed_tokens", "lm_head")}
    arrays |= {f"model.layers.0.{role}.weight": array for role, array in change.items()}
    save_file(arrays, folder / "model.safetensors")
    family = {"model_type": "made up"}  # so that transformers asks for no norm and no other shape
    (folder / "config.json").write_text(json.dumps(CONFIG | family))
    return folder


def _stream(folder: Path, out: Path, goal: str = "acc-opt", tile: int = 8) -> QuantizationResult:
    asked = Request(PROFILE, goal, Recipe(hardware=Hardware(tile=tile)), None, "nothing")  # type: ignore[arg-type]
    return quantize_checkpoint(open_checkpoint(folder), asked, out)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_is_named_and_nothing_is_written(value: float, tmp_path: Path) -> None:
    weight = np.ones((8, 8), np.float32)
    weight[3, 5] = value
    folder = _model(tmp_path / "model", {"self_attn.v_proj": weight})
    said = r"tensor model\.layers\.0\.self_attn\.v_proj\.weight must be finite, but holds -?(nan|inf) at \(3, 5\)"
    with pytest.raises(CheckpointError, match=said):
        _stream(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_odd_layers_pass_through_the_whole_stream(tmp_path: Path) -> None:
    """All zeros, one tile of zeros, one row, one column, one weight, and the ends of float16's and float32's range."""
    zeros_in_part = np.random.default_rng(1).standard_normal((16, 16)).astype(np.float32)
    zeros_in_part[8:, :8] = 0
    change = {
        "self_attn.q_proj": np.zeros((8, 8), np.float32),
        "self_attn.k_proj": zeros_in_part,
        "self_attn.v_proj": np.array([[0.5, -1, 2, 0, 0, 1, 3, -3]], np.float32),
        "self_attn.o_proj": np.array([[1.0], [-2.0], [0.0]], np.float32),
        "mlp.gate_proj": np.array([[0.25]], np.float32),
        "mlp.up_proj": np.full((8, 8), 1e-12, np.float32),
    }
    for goal in ("acc-opt", "bal"):
        out = tmp_path / goal
        _stream(_model(tmp_path / f"model-{goal}", change), out, goal)
        made = {q.layer.removeprefix("model.layers.0."): dequantize(q) for q in iterate_layers(open_packed(out))}
        assert all(np.isfinite(weight).all() for weight in made.values())
        assert not made["self_attn.q_proj"].any()
        assert not made["self_attn.k_proj"][8:, :8].any()
        assert made["self_attn.v_proj"].shape == (1, 8)
        assert made["self_attn.o_proj"].shape == (3, 1)
        np.testing.assert_allclose(made["mlp.gate_proj"], [[0.25]], rtol=0.05)
        np.testing.assert_allclose(made["mlp.up_proj"], change["mlp.up_proj"], rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2.0**-23, 1e-7, 1e-5, 1e-15])
def test_a_model_of_tiny_weights_loses_what_the_model_itself_loses(factor: float, tmp_path: Path) -> None:
    """Quantized without calibration, each weight is rounded to the word of before; only scales are rounded again."""
    rng = np.random.default_rng(2)
    whole = {role: rng.standard_normal(shape).astype("f4") for role, shape in ROLES.items()}
    tiny = {role: weight * np.float32(factor) for role, weight in whole.items()}
    found = []
    for name, weights in (("whole", whole), ("tiny", tiny)):
        _stream(_model(tmp_path / f"model-{name}", weights), tmp_path / name, "bal")
        verify(tmp_path / name)
        found.append({q.layer: dequantize(q) for q in iterate_layers(open_packed(tmp_path / name))})
    for layer, made in found[0].items():
        weight = whole[layer.removeprefix("model.layers.0.")].astype(np.float64)
        errors = [np.linalg.norm(weight - made), np.linalg.norm(weight - found[1][layer].astype(np.float64) / factor)]
        assert errors[1] == pytest.approx(errors[0], rel=0.02)
        assert 0.001 < errors[0] / np.linalg.norm(weight) < 0.3
        if factor == 2.0**-23:
            assert np.array_equal(found[1][layer], made * np.float32(factor))


@pytest.mark.slow
def test_layers_whose_weights_are_too_small_for_float16_scales_are_named(tmp_path: Path) -> None:
    small = np.random.default_rng(2).standard_normal((8, 8)).astype(np.float32) * np.float32(1e-6)
    small[0] *= 1e6  # one scale for the layer cannot help: its rows differ too much
    change = {"self_attn.v_proj": small, "mlp.up_proj": np.zeros((8, 8), np.float32)}
    found = _stream(_model(tmp_path / "model", change), tmp_path / "out")
    named = [note for note in found.notes if "too small for float16 scales" in note]
    assert len(named) == 1 and "precision in model.layers.0.self_attn.v_proj; leave" in named[0]
