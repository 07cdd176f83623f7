"""`haloquant.quantize` refuses wrong arguments before any work, and `forecast` reads shapes alone."""

import json
from pathlib import Path

import pytest

import haloquant
from haloquant.api.models import quantization_forecast
from haloquant.cli.app import invoke
from haloquant.errors import CheckpointError, HaloquantError, InputError
from haloquant.jobs.quantize.forecast.machine_rates import Rates


@pytest.mark.parametrize(
    ("model", "options", "error", "sentence"),
    [
        ("/nope", {}, CheckpointError, "the model must be `demo` or a folder in Hugging Face format"),
        ("demo", {"calibration": "/nope.txt"}, InputError, "a text must be a .txt or .xz file"),
        ("demo", {"calibration": "none", "transform": "awq"}, InputError, "awq must have a calibration text"),
        (
            "demo",
            {"calibration": "none", "calibration_dtype": "bfloat16"},
            InputError,
            "calibration_dtype must be left out where calibration is none",
        ),
        ("demo", {"profile": "fast-one"}, InputError, "the profile must be a file or one of"),
        ("demo", {"tile": 4}, InputError, "tile must be a whole number from 8 to 65536, not 4"),
        ("demo", {"tile": 100_000}, InputError, "tile must be a whole number from 8 to 65536, not 100000"),
        ("demo", {"sparse_budget": 0.6}, InputError, r"sparse_budget must be 0 to 0\.5, not 0\.6"),
        ("demo", {"workers": 0}, InputError, "workers must be at least 1, not 0"),
        ("demo", {"exclude": "("}, CheckpointError, "a layer pattern must be a regular expression"),
    ],
)
def test_a_wrong_argument_is_answered_by_a_sentence(
    model: str, options: dict[str, object], error: type[HaloquantError], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=sentence):
        haloquant.quantize(model, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_an_output_that_holds_other_files_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "thesis.tex"
    file.write_text("precious")
    with pytest.raises(InputError, match="must be empty or not exist yet, and it holds files"):
        haloquant.quantize("demo", tmp_path, calibration="none", progress=False)
    with pytest.raises(InputError, match="must be a folder, and it is a file"):
        haloquant.quantize("demo", file, calibration="none", progress=False)
    assert file.read_text() == "precious" and len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def fixed_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let forecasts take fixed rates, so that they need no second to measure this machine."""
    rates = Rates(**{name: 1e9 for name in Rates.__dataclass_fields__})
    monkeypatch.setattr(quantization_forecast.machine_rates, "measure_rates", lambda refined, dtype: rates)


@pytest.mark.usefixtures("fixed_rates")
def test_a_forecast_needs_a_shape_alone() -> None:
    calibrated = haloquant.forecast("opt-1.3b", goal="acc-opt")
    free = haloquant.forecast("opt-1.3b", goal="acc-opt", calibration="none")
    assert "calibrate" in {stage.name for stage in calibrated.stages}
    assert "calibrate" not in {stage.name for stage in free.stages}
    assert calibrated.layers == 24 * 6 and calibrated.window_tokens == 2048
    wanted = r"the model to plan for must be a folder, a GGUF file, .* a config\.json, or one of"
    with pytest.raises(InputError, match=wanted):
        haloquant.forecast("opt-9b")


@pytest.mark.usefixtures("fixed_rates")
def test_a_forecast_leaves_excluded_layers_out(capsys: pytest.CaptureFixture[str]) -> None:
    every, some = haloquant.forecast("demo"), haloquant.forecast("demo", exclude="mlp")
    assert 0 < some.layers < every.layers
    weights: list[int] = []
    for options in ([], ["--exclude", "mlp"]):
        assert invoke(["quantize", "demo", "--dry-run", "--json", *options]) == 0
        weights.append(json.loads(capsys.readouterr().out)["weights"])
    assert weights == [every.plan.weights, some.plan.weights]
    wanted = r"exclude needs the names of layers: the model must be a folder, .* or a URL, not"
    with pytest.raises(InputError, match=wanted):
        haloquant.forecast("opt-1.3b", exclude="mlp")


@pytest.mark.usefixtures("fixed_rates")
def test_a_forecast_is_for_an_h100_too_and_says_what_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    gpu = haloquant.forecast("llama2-7b").gpu
    assert gpu is not None and gpu.obstacle == "" and 3e9 < gpu.peak_b < 24e9
    assert haloquant.forecast("llama2-7b", device="cpu").gpu is None
    assert invoke(["quantize", "llama2-7b", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "on one NVIDIA H100 80GB, 85 GB" in said and "measure tiles" in said
    assert "float32 products, op/s: 4.9e+13, measured (bench/gpu/results/h100.json" in said
    assert "calibration of a block, op/s: 3.5e+13, assumed (" in said
    assert invoke(["quantize", "llama2-7b", "--dry-run", "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["gpu"] is None
    with pytest.raises(InputError, match=r"device must be auto, cpu, cuda or cuda:NUMBER, cuda:all, .*, not 'tpu'"):
        haloquant.forecast("llama2-7b", device="tpu")


@pytest.mark.usefixtures("fixed_rates")
def test_a_forecast_is_for_the_gpus_that_are_named_whether_they_are_there_or_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quantization_forecast, "gpu_count", lambda: 0)
    one, two = (haloquant.forecast("llama2-7b", device=device).gpu for device in ("cuda:0", "cuda:0,cuda:3"))
    assert one == haloquant.forecast("llama2-7b", device="cuda:all").gpu == haloquant.forecast("llama2-7b").gpu
    assert two is not None and one is not None and (one.cards, two.cards) == (1, 2) and two.seconds < one.seconds
    assert invoke(["quantize", "llama2-7b", "--dry-run", "--device", "cuda:0,cuda:1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "on 2 GPUs, NVIDIA H100 80GB, 85 GB each" in said and "layers are divided among all" in said

    sizes = {"cuda:0": 24e9, "cuda:1": 48e9}
    monkeypatch.setattr(quantization_forecast, "gpu_count", lambda: 2)
    monkeypatch.setattr(quantization_forecast, "find_devices", lambda device: tuple(sizes))
    monkeypatch.setattr(quantization_forecast, "check_alike", lambda devices: None)
    monkeypatch.setattr(quantization_forecast, "device_memory_b", sizes.get)
    monkeypatch.setattr(quantization_forecast, "describe_device", lambda device: f"{device}, a card")
    both = haloquant.forecast("llama2-7b", device="cuda:all").gpu
    assert both is not None and (both.cards, both.memory_b) == (2, 24e9)
    assert both.device == "cuda:0, a card, at the rates of an H100 and cuda:1, a card, at the rates of an H100"


@pytest.mark.usefixtures("fixed_rates")
def test_a_stage_is_expected_on_the_device_where_it_ran() -> None:
    found = haloquant.forecast("llama2-7b", device="cuda:0")
    assert found.gpu is not None
    on_cpu, on_gpu = {x.name: x for x in found.stages}, {x.name: x for x in found.gpu.stages}
    for calibrated, rounded in ((True, True), (True, False), (False, True), (False, False)):
        stages = found.expected("cuda:0" if calibrated else "cpu", ("cuda:0",) if rounded else ("cpu",))
        assert [stage.name for stage in stages] == list(on_cpu)
        gpu = ({"calibrate"} if calibrated else set()) | ({"measure tiles", "quantize"} if rounded else set())
        for stage in stages:
            if stage.name in gpu:
                wanted = on_gpu[stage.name].seconds, None, on_gpu[stage.name].device_b
            else:
                wanted = on_cpu[stage.name].seconds, on_cpu[stage.name].driver_b, None
            assert (stage.seconds, stage.driver_b, stage.device_b) == wanted
