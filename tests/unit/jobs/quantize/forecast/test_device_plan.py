"""The prediction for a GPU: by hand for one layer, and for the shapes of the largest models."""

from dataclasses import replace

import pytest

from haloquant.accel.workload.model_shapes import named_shape
from haloquant.errors import InfeasibleError
from haloquant.jobs.quantize.forecast.device_plan import (
    calibration_b,
    check_calibration_room,
    check_rounding_room,
    predict_on_devices,
)
from haloquant.jobs.quantize.forecast.device_rates import H100, DeviceRate
from haloquant.jobs.quantize.forecast.model_sizes import LayerSize, ModelSizes, sizes_of_shape
from haloquant.jobs.quantize.forecast.plan import Rates, calibration_madds, keeping_s, predict
from haloquant.kernels.rounding.memory import CONTEXT_B, WORK_B

RATES = Rates(1e7, 1e8, 1e-6, 1e-10, 1e-10, 1e10, 1e10, 1e9, 1e9, 5e8)
ONE = ModelSizes("m", (LayerSize(0, 0, 1000, 500),), 500, 2e6, 1e6, 10)


def plan_of(model, *devices, windows=128, length=2048, calibrated=True, balanced=True):
    plan = predict(model, RATES, windows, length, balanced)
    return predict_on_devices(model, plan, RATES, devices or (H100,), windows, length, calibrated, balanced)


def test_one_layer_by_hand() -> None:
    rate = lambda value: DeviceRate(value, False, "by hand")  # noqa: E731
    device = replace(
        H100, product=rate(1e12), calibration=rate(1e12), factor=rate(1e12), search=rate(1e9), to_device=rate(1e9),
        to_host=rate(1e9), host=rate(1e9), column=rate(1e-6), refined_column=rate(2e-6), together=600,
    )  # fmt: skip
    found = {stage.name: stage for stage in plan_of(ONE, device, windows=4, length=100).stages}
    values = 4 * (10 * 100**3 / 3 + 100**2 * 500 + 100 * 500**2)  # as in the test of the CPU's plan
    stored = 4 * (5e5 + 2 * 500**2)  # Fisher, the Hessian and the values'
    spent = 2 * (400 * (3 * 5e5 + 500**2) + values) / 1e12 + stored * (1 / RATES.write_b_per_s + 1 / RATES.hash_b_per_s)
    assert found["calibrate"].seconds == pytest.approx(spent)
    assert found["read statistics"].seconds == pytest.approx(2 * stored / RATES.hash_b_per_s)
    copies = (4 * 5e5 + 4 * 5e5 + 4 * 500**2 + 5e5 + 16 * 5e5) / 1e9  # weight, Fisher, Hessian; codes back; the CPU
    search, product = 5e5 / 1e9, 2 * 5e5 * 500 / 1e12
    columns = 500 * 1e-6 * 2  # 1000 rows in two goes of 600
    compensated, refined = product / 2 + columns, 0.5 * (product + 3 * 2 * columns)
    factor = 500**3 / 3 / 1e12
    measured = copies + factor + 2 * (search + compensated + product) + refined
    assert found["measure tiles"].seconds == pytest.approx(measured)
    packed = 5e5 / 1e8
    assert found["quantize"].seconds == pytest.approx(copies + factor + search + compensated + refined + packed)
    assert found["pack"].device_b == 0 and found["pack"].seconds == predict(ONE, RATES, 4, 100).calibrated[-2].seconds
    held = 4 * 5e5 + 4 * (5e5 + 500**2) + 4 * 500**2  # weight, Fisher and Hessian, the values' Hessian
    window = 4 * 100 * 1500 + 4 * 10 * 100**2 + 4 * 5e5
    assert found["calibrate"].device_b == pytest.approx(held + window + CONTEXT_B)
    assert found["quantize"].device_b == pytest.approx(2 * 4 * 500**2 + 26 * 5e5 + WORK_B + CONTEXT_B)


def test_bfloat16_products_shorten_calibration_alone() -> None:
    """The gradients and the sums of inputs multiply bfloat16; the values' Hessian stays float32."""
    model = sizes_of_shape(replace(named_shape("llama2-7b"), layers=2))
    plan = predict(model, RATES, 128, 2048)
    plain, fast = (
        {stage.name: stage.seconds for stage in predict_on_devices(
            model, plan, RATES, (H100,), 128, 2048, True, dtype=dtype,
        ).stages}
        for dtype in ("float32", "bfloat16")
    )  # fmt: skip
    saved = 2 * calibration_madds(model.layers, 128 * 2048) * (1 / 35e12 - 1 / H100.bfloat16_calibration.value)
    assert plain["calibrate"] - fast["calibrate"] == pytest.approx(saved, rel=1e-6)
    assert {name: s for name, s in plain.items() if name != "calibrate"} == {
        name: s for name, s in fast.items() if name != "calibrate"
    }


def test_the_minutes_of_a_calibrated_7b_that_the_documentation_names() -> None:
    """`docs/stages/quantizer.md`: 6.8 and 2.0, without the disk."""
    model = sizes_of_shape(named_shape("llama2-7b"))
    plan = predict(model, RATES, 128, 2048)
    for dtype, minutes in (("float32", 6.8), ("bfloat16", 2.0)):
        found = predict_on_devices(model, plan, RATES, (H100,), 128, 2048, True, dtype=dtype)
        calibrated = next(stage.seconds for stage in found.stages if stage.name == "calibrate")
        assert round((calibrated - keeping_s(plan.statistics_b, RATES)) / 60, 1) == minutes


def test_a_7b_block_takes_the_memory_that_was_measured() -> None:
    """`bench/gpu/results/h200_calibration.json`: 3.758 GB, without the CUDA context."""
    model = sizes_of_shape(replace(named_shape("llama2-7b"), layers=1))
    assert calibration_b(model, 2048) - CONTEXT_B == pytest.approx(3.757743616e9, rel=0.06)


@pytest.mark.parametrize(("shape", "seconds"), [((4096, 11008), 0.507), ((4096, 4096), 0.169)])
def test_a_layer_takes_the_time_that_was_measured(shape, seconds) -> None:
    """`bench/gpu/results/h200_rounding.json`: both classes, their losses and the refinement of one."""
    model = ModelSizes("m", (LayerSize(0, 0, *shape),), 4096, 2e6, 1e6, 32)
    found = {stage.name: stage.seconds for stage in plan_of(model, windows=1).stages}
    assert found["measure tiles"] == pytest.approx(seconds, rel=0.2)


@pytest.mark.parametrize(("name", "peak_gb"), [("llama2-7b", 24), ("llama2-70b", 24), ("llama3.1-405b", 80)])
def test_the_largest_models_fit_on_one_h100(name: str, peak_gb: float) -> None:
    plan = plan_of(sizes_of_shape(named_shape(name)))
    assert plan.obstacle == "" and plan.bands == 1 and 2e9 < plan.peak_b < peak_gb * 1e9
    assert plan.seconds > sum(stage.seconds for stage in plan.stages if stage.device_b)


def test_a_layer_that_does_not_fit_is_split_and_a_block_that_does_not_is_refused() -> None:
    model = sizes_of_shape(named_shape("llama3.1-405b"))
    card = plan_of(model, replace(H100, memory_b=20e9), calibrated=False)
    assert card.bands == 2 and card.obstacle == "" and card.peak_b == 0.9 * 20e9
    small = replace(H100, name="a card", memory_b=40e9)
    assert "calibrating llama3.1-405b must have 55" in plan_of(model, small).obstacle
    with pytest.raises(InfeasibleError, match=r"and a card has 40 GB; calibrate on the CPU .* or quantize without"):
        check_calibration_room(model, 40e9, "a card", 2048)
    check_rounding_room(model, 40e9, "a card", calibrated=True)
    check_rounding_room(model, 24e9, "a card", calibrated=False)
    wanted = r"a layer of llama3\.1-405b with 53248 inputs must have at least 26.*, and a card has 24 GB, enough for"
    with pytest.raises(InfeasibleError, match=wanted):
        check_rounding_room(model, 24e9, "a card", calibrated=True)
    assert "must have at least" in plan_of(model, replace(H100, memory_b=1e9), calibrated=False).obstacle


def test_several_gpus_divide_the_layers_and_the_first_calibrates() -> None:
    model = sizes_of_shape(named_shape("llama2-7b"))
    one, four = ({x.name: x for x in plan_of(model, *(H100,) * cards).stages} for cards in (1, 4))
    for name in ("measure tiles", "quantize"):
        assert four[name].seconds == pytest.approx(one[name].seconds / 4)
    for name in one.keys() - {"measure tiles", "quantize"}:
        assert four[name] == one[name]
    assert {name: x.device_b for name, x in four.items()} == {name: x.device_b for name, x in one.items()}
    plan = plan_of(ONE, H100, H100)  # a layer alone is on one of them
    assert plan.cards == 2 and plan.device == H100.name
    assert plan.stages == plan_of(ONE, H100).stages


def test_the_smallest_of_several_gpus_decides() -> None:
    model = sizes_of_shape(named_shape("llama3.1-405b"))
    small = replace(H100, name="cuda:1", memory_b=24e9)
    plan = plan_of(model, H100, small)
    assert plan.memory_b == 24e9 and "and cuda:1 has 24 GB, enough for layers" in plan.obstacle
    assert plan_of(model, H100, replace(small, memory_b=40e9)).obstacle == ""  # it calibrates no block
    assert "calibrating llama3.1-405b" in plan_of(model, replace(small, memory_b=40e9), H100).obstacle
