"""SmoothQuant and AWQ where a model is quantized layer by layer: the scales are found first, in a pass of their own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from haloquant.cli.app import invoke
from haloquant.errors import InputError
from haloquant.jobs.engine.tasks import Engine
from haloquant.jobs.inputs import read_text
from haloquant.jobs.quantize.job import QuantizationResult, quantize_checkpoint
from haloquant.jobs.quantize.request import Request
from haloquant.lm.calibration.in_memory import collect, cut_windows
from haloquant.lm.checkpoint.reader import open_checkpoint, read_weight
from haloquant.lm.checkpoint.safetensors import read_float32
from haloquant.lm.export.folding import folds
from haloquant.lm.packed.reader import iterate_layers, open_packed
from haloquant.quant.layer import dequantize
from haloquant.recipe import Hardware, Quantize, Recipe
from haloquant.store.profiles import find_profile
from support.whole_model_transform import apply_scales, find_scales

KINDS = pytest.mark.parametrize("kind", ["smoothquant", "awq"])


def asked(model: Path, text: Path, kind: Any, goal: Any = "acc-opt") -> Request:
    windows = cut_windows(read_text(model, str(text), "calibration").tokens, 32, 10)
    recipe = Recipe(hardware=Hardware(tile=32), quantize=Quantize(transform=kind))
    return Request(find_profile("default"), goal, recipe, windows, "test")


def make(model: Path, text: Path, kind: str, out: Path, **more: Any) -> QuantizationResult:
    return quantize_checkpoint(open_checkpoint(model), asked(model, text, kind), out, **more)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@KINDS
def test_the_packed_model_is_the_one_whose_layers_were_scaled_and_undone(
    kind: Any, tiny_folder: Path, small_text: Path, tmp_path: Path
) -> None:
    """The judge is the way of a whole model: calibrated at once, scaled in memory, and run on its own weights."""
    import torch

    from haloquant.lm.packed.loading import load
    from haloquant.lm.swap_weights import with_weights
    from haloquant.lm.torch_model import load_model

    done = make(tiny_folder, small_text, kind, tmp_path / "out")
    assert (
        done.notes[0] == f"{kind}: inputs of 14 of 14 layers are divided by powers of two, folded into what makes them"
    )
    checkpoint, packed = open_checkpoint(tiny_folder), open_packed(tmp_path / "out")
    weights = {layer.name: read_weight(checkpoint, layer) for layer in checkpoint.layers}
    model, windows = load_model(tiny_folder), asked(tiny_folder, small_text, kind).calibration
    assert windows is not None
    known = collect(model, windows.reshape(-1), tuple(weights), window=32, samples=10)
    scales = find_scales(kind, weights, known, folds(checkpoint), lambda done, total: None)
    assert any(np.ptp(scale) > 0 for scale in scales.values())
    for place in folds(checkpoint):
        for name in place.vectors:
            before, after = (read_float32(x.tensors[name]).reshape(-1) for x in (checkpoint, packed))
            scale = scales[place.layers[0]]
            divisor = scale if place.producer is None else place.row_divisors(scale)
            np.testing.assert_array_equal(before, after * divisor)
    seen = apply_scales(scales, folds(checkpoint), weights, known)
    rounded = {q.layer: seen.undo(q.layer, dequantize(q)) for q in iterate_layers(packed)}
    for layer, weight in rounded.items():  # 16 words behind a scale: near the weight they stand for
        assert np.linalg.norm(weight - weights[layer]) < 0.25 * np.linalg.norm(weights[layer]), layer
    tokens = torch.arange(40)[None]
    with torch.no_grad(), with_weights(model, rounded):
        torch.testing.assert_close(load(tmp_path / "out")(tokens).logits, model(tokens).logits, rtol=1e-5, atol=1e-5)


class Stopped(Exception):
    pass


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(
    tiny_folder: Path, small_text: Path, tmp_path: Path
) -> None:
    kind = "smoothquant"
    make(tiny_folder, small_text, kind, tmp_path / "whole")
    seen: list[tuple[str, int, int]] = []

    def stop(task: str, done: int, total: int) -> None:
        if (task, done) == (f"{kind} scales", total - 1):
            raise Stopped

    with pytest.raises(Stopped):
        make(tiny_folder, small_text, kind, tmp_path / "out", progress=stop)
    assert not (tmp_path / "out").exists()
    make(tiny_folder, small_text, kind, tmp_path / "out", progress=lambda *told: seen.append(told))
    assert [done for task, done, _ in seen if task == f"{kind} scales"] == [7, 8]  # of four inputs in two blocks
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not (tmp_path / "out.work").exists()


@pytest.mark.slow
def test_workers_change_no_byte(tiny_folder: Path, small_text: Path, tmp_path: Path) -> None:
    for name, engine in (("one", Engine()), ("two", Engine("local", 2))):
        make(tiny_folder, small_text, "awq", tmp_path / name, engine=engine)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_tiles_of_bal_are_measured_behind_the_transform(
    tiny_folder: Path, small_text: Path, tmp_path: Path
) -> None:
    wanted, seen = asked(tiny_folder, small_text, "smoothquant", "bal"), []
    done = quantize_checkpoint(
        open_checkpoint(tiny_folder), wanted, tmp_path / "out", lambda task, *_: seen.append(task)
    )
    passes = [
        task for i, task in enumerate(seen) if task.startswith(("calibrate", "choose", "read")) and task not in seen[:i]
    ]
    assert passes[0] == "calibrate to smoothquant scales"
    assert passes[-2:] == ["calibrate to measure tiles", "read statistics to quantize"]
    assert done.notes[0].startswith("smoothquant: inputs of 14 of 14 layers")


def test_without_calibration_or_a_place_it_is_refused(tiny_folder: Path, small_text: Path, tmp_path: Path) -> None:
    wanted = asked(tiny_folder, small_text, "awq")
    sentence = (
        r"^the transform awq must have a calibration text, as its scales come from the layers' inputs; name one, or "
        r"leave the transform out$"
    )
    with pytest.raises(InputError, match=sentence):
        quantize_checkpoint(open_checkpoint(tiny_folder), replace(wanted, calibration=None), tmp_path / "out")
    bare = open_checkpoint(tiny_folder, exclude=("q_proj", "o_proj", "gate_proj", "down_proj"))
    sentence = (
        r"^the transform awq must have a norm or a linear layer to fold its scales into, and the chosen layers of this "
        r"llama model leave none; quantize it without a transform$"
    )
    with pytest.raises(InputError, match=sentence):
        quantize_checkpoint(bare, wanted, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_command_has_it(
    tiny_folder: Path, small_text: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["quantize", str(tiny_folder), "--out", str(tmp_path / "out"), "--tile", "32", "--samples", "2", "-q"]
    command += ["--goal", "perf-opt", "--nearest", "--json", "--calibration", str(small_text)]
    assert invoke([*command, "--transform", "smoothquant"]) == 0
    told = msgspec.json.decode(capfd.readouterr().out)
    # Gate, up and down, 172 wide, are padded to 192: 6 x 20 x 64 places; the other layers, 4 x 6144 places, are not.
    padded = 6 * 20 * 64 / (6 * 192 * 64 + 4 * 6144)
    assert told["notes"] == [
        "smoothquant: inputs of 14 of 14 layers are divided by powers of two, folded into what makes them",
        f"6 of 14 layers do not fill their tiles of 32 x 32: {padded:.1%} of the places are padding",
    ]
    assert invoke(["quantize", "demo", "--transform", "smooth", "--out", str(tmp_path / "no")]) == 2
    assert "smoothquant" in capfd.readouterr().err
    assert invoke(["quantize", "demo", "--transform", "awq", "--calibration", "none", "--dry-run"]) == 2
    assert "the transform awq must have a calibration text" in " ".join(capfd.readouterr().err.split())
