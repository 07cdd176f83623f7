"""A whole quantization with torch's rounding engine on the CPU, as it runs on a GPU."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from haloquant.errors import InfeasibleError, ToolError  # noqa: E402
from haloquant.jobs.engine.tasks import THIS_PROCESS, Engine  # noqa: E402
from haloquant.jobs.quantize.forecast import device_room  # noqa: E402
from haloquant.jobs.quantize.job import QuantizationResult, quantize_checkpoint  # noqa: E402
from haloquant.jobs.quantize.layer_rounding import RoundingPlace  # noqa: E402
from haloquant.kernels.rounding import torch_layer  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.packed.reader import iterate_layers, open_packed  # noqa: E402
from support.engine_jobs import layers_request  # noqa: E402
from support.small_job import files_of  # noqa: E402

IN_TORCH = RoundingPlace("cpu", "torch")


def quantize(model: Path, text: Path, out: Path, engine: Engine = THIS_PROCESS, **changes) -> QuantizationResult:
    request = replace(layers_request(model, text), place=IN_TORCH, **changes)
    return quantize_checkpoint(open_checkpoint(model), request, out, engine=engine)


@pytest.fixture(scope="module")
def made(tiny_folder: Path, small_text: Path, tmp_path_factory) -> Path:
    """The packed model that one process makes with torch."""
    return quantize(tiny_folder, small_text, tmp_path_factory.mktemp("torch") / "out").folder


def test_the_packed_model_has_the_codes_that_numba_chooses(made: Path, layers_alone: Path) -> None:
    same, total = 0, 0
    for one, other in zip(iterate_layers(open_packed(made)), iterate_layers(open_packed(layers_alone)), strict=True):
        assert np.array_equal(one.tiles.codebook, other.tiles.codebook)
        same, total = same + int(np.sum(one.codes == other.codes)), total + one.codes.size
    assert same >= 0.999 * total


@pytest.mark.slow
def test_two_workers_with_a_device_each_write_the_bytes_of_one(
    made: Path, tiny_folder: Path, small_text: Path, tmp_path: Path
) -> None:
    quantize(tiny_folder, small_text, tmp_path / "out", Engine(workers=2, devices=("cpu", "cpu")))
    assert files_of(tmp_path / "out") == files_of(made)


def test_a_failure_of_the_device_keeps_finished_layers_and_the_same_command_goes_on(
    made: Path, tiny_folder: Path, small_text: Path, tmp_path: Path, monkeypatch
) -> None:
    compensate, calls = torch_layer.compensate, []

    def fail(*arguments: object) -> object:
        calls.append(0)
        if len(calls) == 34:  # 14 layers in two classes each, then the sixth that is written
            raise RuntimeError("CUDA error: unspecified launch failure")
        return compensate(*arguments)

    monkeypatch.setattr(torch_layer, "compensate", fail)
    words = r"^the device cpu failed while rounding \S+: CUDA error: unspecified launch failure; finished"
    with pytest.raises(ToolError, match=words):
        quantize(tiny_folder, small_text, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    done = quantize(tiny_folder, small_text, tmp_path / "out")
    assert done.reused == 5
    assert files_of(tmp_path / "out") == files_of(made)


def test_a_gpu_without_room_is_refused_before_any_work(
    tiny_folder: Path, small_text: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(device_room, "device_memory_b", {"cuda:0": 80e9, "cuda:1": 1.1e9, "cuda:2": 0.4e9}.get)
    request = replace(layers_request(tiny_folder, small_text), place=RoundingPlace("cuda:0"))
    engine = Engine(workers=2, devices=("cuda:0", "cuda:1"))
    words = r"must have at least 1\.\d+ GB of device memory, and cuda:1 has 1\.1 GB, enough for"
    with pytest.raises(InfeasibleError, match=words):
        quantize_checkpoint(open_checkpoint(tiny_folder), request, tmp_path / "out", engine=engine)
    request = replace(request, place=RoundingPlace("cpu"), device="cuda:2")
    with pytest.raises(InfeasibleError, match=r"for one decoder block, .*, and cuda:2 has 400 MB; calibrate on the"):
        quantize_checkpoint(open_checkpoint(tiny_folder), request, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
