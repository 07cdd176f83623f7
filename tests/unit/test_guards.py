"""What a layer's numbers may be: refused with a sentence, or quantized to finite codes, whatever they hold."""

import json
from pathlib import Path

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads
from safetensors.numpy import save_file

from haloquant.dvfs.classes import Classes
from haloquant.errors import CheckpointError, InfeasibleError
from haloquant.jobs.quantize import checkpoint, halo
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.packed.reader import iterate_layers, open_packed
from haloquant.quant.format.packing import pack
from haloquant.quant.layer import dequantize, quantize_weight
from haloquant.quant.sparse import split
from haloquant.quant.tiles import check_accumulation, longest_accumulation, make_grid, uniform_map
from haloquant.recipe import Hardware, Recipe
from haloquant.records import Codebook, LayerStatistics, OperatingPoint
from haloquant.store.profiles import find_profile
from support.hostile_files import CONFIG, ROLES

BOOK = Codebook("slow", np.arange(-8, 8).astype(np.int16), OperatingPoint(0.9, 1e9), 1e-11)
PROFILE = find_profile("default")


def _model(folder: Path, change: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = {f"model.layers.0.{role}.weight": rng.standard_normal(shape).astype("f4") for role, shape in ROLES.items()}
    arrays["model.embed_tokens.weight"] = np.ones((16, 8), np.float32)
    arrays |= {f"model.layers.0.{role}.weight": array for role, array in change.items()}
    save_file(arrays, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def _stream(folder: Path, out: Path, goal: str = "acc-opt", tile: int = 8) -> checkpoint.Stream:
    asked = checkpoint.Asked(PROFILE, goal, Recipe(hardware=Hardware(tile=tile)), None, "nothing")  # type: ignore[arg-type]
    return checkpoint.quantize_checkpoint(open_checkpoint(folder), asked, out)


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
        assert np.abs(made["mlp.up_proj"]).max() < 1e-4


def test_weights_beyond_a_float16_scale_are_refused() -> None:
    """Found here: their scales were clipped to 65504, and the model was wrong without a word."""
    weight = np.array([[1.0, -1e30], [2.0, 3.0]], np.float32)
    tiles = uniform_map("l", make_grid(2, 2, 2, 2))
    said = (
        r"^weight of l must be at most 65504 in magnitude, as scales are stored in float16, not 1e\+30: the checkpoint"
    )
    with pytest.raises(CheckpointError, match=said):
        quantize_weight(weight, tiles=tiles, codebooks=(BOOK,))
    made = quantize_weight(
        np.array([[65504.0, 0.0]], np.float32), tiles=uniform_map("l", make_grid(1, 2, 2, 2)), codebooks=(BOOK,)
    )
    np.testing.assert_allclose(dequantize(made), [[65504.0, 0.0]], rtol=0.01)


def test_scales_of_zero_mean_zeros() -> None:
    tiles = uniform_map("l", make_grid(4, 4, 2, 2))
    made = quantize_weight(np.zeros((4, 4), np.float32), tiles=tiles, codebooks=(BOOK,))
    assert np.isfinite(made.scale).all()
    assert not dequantize(made).any()
    assert pack(made)["weight_scale"].dtype == np.float16


def test_the_bound_of_an_int32_sum_is_exact_and_held() -> None:
    """K products of |w| <= 128 with |a| <= 128 need K x 2^14 <= 2^31 - 1; one more may overflow."""
    books = (Codebook("all", np.arange(-128, 128).astype(np.int16), OperatingPoint(1.0, 1e9), 0.0),)
    bound = longest_accumulation(128)
    assert bound * 128 * 128 <= 2**31 - 1 < (bound + 1) * 128 * 128
    check_accumulation("l", bound, books)
    with pytest.raises(InfeasibleError, match=rf"^accumulation of l must be at most {bound} products of weights up to"):
        check_accumulation("l", bound + 1, books)
    check_accumulation("405B's widest layer", 53248, books)


def test_a_job_checks_the_sums_of_every_layer_too() -> None:
    books = (Codebook("all", np.arange(-128, 128).astype(np.int16), OperatingPoint(1.0, 1e9), 0.0),)
    wide = np.ones((1, longest_accumulation(128) + 1), np.float32)
    with pytest.raises(InfeasibleError, match=r"^accumulation of l must be at most 131071 products"):
        halo.one_layer(wide, None, uniform_map("l", make_grid(*wide.shape)), Classes(PROFILE, 0, books * 2), 0.0, True)


@pytest.mark.parametrize("case", ["data-free", "calibrated"])
def test_one_thread_and_two_give_the_same_bytes(case: str) -> None:
    from haloquant.quant.rounding.refinement import quantize_weight_refined

    rng = np.random.default_rng(3)
    weight = rng.standard_normal((96, 80)).astype(np.float32)
    known = None
    if case == "calibrated":
        inputs = rng.standard_normal((400, 80)).astype(np.float32)
        known = LayerStatistics("l", 400, hessian=inputs.T @ inputs / 400, source="test")
    tiles = uniform_map("l", make_grid(96, 80, 16, 16))
    before, made = get_num_threads(), []
    try:
        for threads in (1, min(2, before)):
            set_num_threads(threads)
            sparse, _ = split(weight, known, layer="l", budget=0.005)
            if known is None:
                q = quantize_weight(weight, tiles=tiles, codebooks=(BOOK,), sparse=sparse)
            else:
                q = quantize_weight_refined(weight, tiles=tiles, codebooks=(BOOK,), statistics=known, sparse=sparse)
            made.append({name: array.tobytes() for name, array in pack(q).items()})
    finally:
        set_num_threads(before)
    if before < 2:
        pytest.skip("needs two threads, and numba was given one")
    assert made[0] == made[1]
