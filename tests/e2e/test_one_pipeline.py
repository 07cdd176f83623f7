"""`run` and `quantize` are one pipeline: the same model, byte for byte, and one layer at a time in memory."""

from pathlib import Path

import numpy as np
import pytest

from haloquant.cli.app import invoke
from haloquant.jobs.compare import job
from haloquant.jobs.quantize.allocation import layer_grids
from haloquant.jobs.quantize.reference.tile_losses import predict_tile_losses, tile_sensitivities
from haloquant.lm.calibration.by_block import collect_by_block
from haloquant.lm.checkpoint.reader import read_weight
from haloquant.lm.swap_weights import LayerWeights, with_weights
from haloquant.recipe import read_recipe
from haloquant.store.profiles import find_profile


def test_both_commands_write_the_same_model(
    small_recipe: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "write_report", lambda *_: None)
    asked = read_recipe(small_recipe)
    job.run(asked, tmp_path / "run")
    samples = asked.text.calibration_tokens // 64  # the tiny model's window
    command = ["quantize", str(tiny_folder), "--out", str(tmp_path / "model"), "--goal", "bal", "-q"]
    command += ["--calibration", asked.text.calibration, "--samples", str(samples), "--tile", str(asked.hardware.tile)]
    assert asked.quantize.compensate
    assert invoke(command) == 0
    made = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    assert {file.name: file.read_bytes() for file in (tmp_path / "run" / "model").iterdir()} == made
    assert not (tmp_path / "run" / "scratch").exists()


def test_losses_and_sensitivities_are_those_of_the_whole_model_in_memory(small_recipe: Path, tmp_path: Path) -> None:
    asked = read_recipe(small_recipe)
    inputs, profile = job.open_inputs(asked)
    steps = job.JobSteps(asked, inputs, profile, tmp_path, lambda *_: None)
    windows = steps.request.calibration
    assert windows is not None
    weights = {layer.name: read_weight(inputs.checkpoint, layer) for layer in inputs.checkpoint.layers}
    known = {layer.name: seen for layer, seen in collect_by_block(inputs.checkpoint, windows)}
    grids = layer_grids(steps.shapes, asked.hardware.tile)
    losses = predict_tile_losses(weights, known, grids, steps.classes, asked, lambda *_: None)
    np.testing.assert_array_equal(steps.allocator.loss, losses)
    wanted = tile_sensitivities(steps.shapes, known, asked.hardware.tile)
    assert steps.sensitivity.keys() == wanted.keys()
    for layer, found in steps.sensitivity.items():
        np.testing.assert_array_equal(found, wanted[layer])


def test_the_model_gets_its_own_weights_back_from_the_checkpoint(small_recipe: Path, tmp_path: Path) -> None:
    inputs, _ = job.open_inputs(read_recipe(small_recipe))
    steps = job.JobSteps(read_recipe(small_recipe), inputs, find_profile("default"), tmp_path, lambda *_: None)
    model = steps.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layers = inputs.checkpoint.layers
    reads: list[str] = []

    def zeros(name: str, shape: tuple[int, int]) -> np.ndarray:
        reads.append(name)
        return np.zeros(shape, np.float32)

    empty = LayerWeights({x.name: lambda x=x: zeros(x.name, (x.out_features, x.in_features)) for x in layers})
    originals = LayerWeights({x.name: lambda x=x: read_weight(inputs.checkpoint, x) for x in layers})
    with with_weights(model, empty, originals):
        assert all(not model.get_submodule(x.name).weight.any() for x in layers)
    assert set(reads) == {x.name for x in layers}
    assert all(bool((tensor == before[name]).all()) for name, tensor in model.state_dict().items())
