"""The plan of a quantization from shapes alone: linear in weights, by hand for one layer, and for models nobody has."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from haloquant.accel.workload.model_shapes import named_shape
from haloquant.errors import InputError
from haloquant.jobs.inputs import read_model_sizes
from haloquant.jobs.quantize.forecast.model_sizes import LayerSize, ModelSizes, sizes_of_shape
from haloquant.jobs.quantize.forecast.plan import BASE_B, BITS, TORCH_B, Rates, predict

RATES = Rates(1e7, 1e8, 1e-6, 1e-10, 1e-10, 1e10, 1e10, 1e9, 1e9, 5e8)


@pytest.mark.parametrize("name", ["llama2-70b", "llama3.1-405b"])
def test_time_and_disk_are_linear_in_weights_and_memory_does_not_grow(name: str) -> None:
    shape = replace(named_shape(name), layers=42)
    once, thrice = (predict(sizes_of_shape(replace(shape, layers=n)), RATES, 32, 2048) for n in (42, 126))
    assert thrice.weights == 3 * once.weights
    for calibrated in (False, True):
        pairs = zip(*(p.calibrated if calibrated else p.free for p in (once, thrice)), strict=True)
        for one, three in pairs:
            # Embedding and head are read and written once, however many blocks there are; codebooks see a sample.
            fixed = {"read and hash": 0.03, "pack": 0.1, "copy and check": 0.2, "choose codebooks": 2.0}.get(
                one.name, 1e-9
            )
            assert three.seconds == pytest.approx(3 * one.seconds, rel=fixed), one.name
            assert (three.driver_b, three.worker_b) == (one.driver_b, one.worker_b), one.name


@pytest.mark.parametrize(("name", "weights"), [("llama2-70b", 68_451_041_280), ("llama3.1-405b", 401_646_551_040)])
def test_weights_are_those_of_the_published_sizes(name: str, weights: int) -> None:
    """Parameters less embedding, head and norms: 68,976,648,192 of Llama 2 70B, 405,853,388,800 of Llama 3.1 405B."""
    shape = named_shape(name)
    model = sizes_of_shape(shape)
    assert sum(x.weights for x in model.layers) == weights
    norms = (2 * shape.layers + 1) * shape.hidden
    published = {"llama2-70b": 68_976_648_192, "llama3.1-405b": 405_853_388_800}[name]
    assert weights + 2 * shape.vocabulary * shape.hidden + norms == published


# Four windows of 100 tokens, ten heads: A^T A of every head, of which the causal mask leaves a third, then X^T M X.
VALUES_S = 4 * (10 * 100**3 / 3 + 100**2 * 500 + 100 * 500**2) / 1e10


def test_one_layer_by_hand() -> None:
    model = ModelSizes("m", (LayerSize(0, 0, 1000, 500),), 500, 2e6, 1e6, 10)
    plan = predict(model, RATES, 4, 100)
    assert plan.written_b == 1e6 + 5e5 * BITS / 8
    times = {stage.name: stage.seconds for stage in plan.calibrated}
    attention = 4 * (100**2 * (8 * 500 / 1e10 + 2.5 * 10 / 1e9) + 0.01)  # four windows in one block
    stored = 4 * (5e5 + 2 * 500**2)  # Fisher, the Hessian and the values', which the second pass reads
    spent = 400 * (3 * 5e5 + 500**2) / 1e10 + attention + VALUES_S
    assert times["calibrate"] == pytest.approx(spent + stored * (1 / 5e8 + 1 / 1e9))
    assert times["read statistics"] == pytest.approx(2 * stored / 1e9) and plan.statistics_b == stored
    rounding = 5e5 * (1e-6 + 1e-10 * 500) + 1e-10 * 500**3 + 0.01
    assert times["quantize"] == pytest.approx(rounding + 5e5 * BITS / 8 * (1 / 5e8 + 1 / 1e9))  # and kept as a step
    assert times["measure tiles"] == pytest.approx(2 * rounding)
    assert times["choose codebooks"] == pytest.approx(0.5 + 5e5 / 12 / 1e7)
    assert plan.seconds(True) == pytest.approx(2.5 + 6.0 + sum(times.values()))
    checked = predict(model, RATES, 4, 100, torch_loaded=True)  # the model is checked in transformers first
    assert checked.seconds(False) == pytest.approx(plan.seconds(False) + 6.0)
    assert [a.driver_b - b.driver_b for a, b in zip(checked.free, plan.free, strict=True)] == [450e6] * len(plan.free)
    assert checked.calibrated == plan.calibrated
    halved = sum(stage.seconds / 2 for stage in plan.calibrated if stage.worker_b)
    assert plan.seconds(True, workers=2) == pytest.approx(plan.seconds(True) - halved)
    memory = {stage.name: stage.driver_b for stage in plan.calibrated}
    sums, states, shard, block = 4 * (5e5 + 2 * 500**2), 4 * 400 * 500, 8 * 400 * 500, 4 * 5e5
    assert memory["calibrate"] == BASE_B + TORCH_B + states + 2 * sums + block + shard
    assert {stage.name for stage in predict(model, RATES, 4, 100, balanced=False).calibrated} == {
        "read and hash", "choose codebooks", "calibrate", "quantize", "pack", "copy and check"
    }  # fmt: skip


def test_a_transform_passes_over_the_inputs_once_more() -> None:
    model = ModelSizes("m", (LayerSize(0, 0, 1000, 500),), 500, 2e6, 1e6, 10)
    plain = predict(model, RATES, 4, 100).calibrated
    for kind, search in (("smoothquant", 0.0), ("awq", 10 * 5e5 * 500 / 1e10)):
        plan = predict(model, RATES, 4, 100, transform=kind)
        added = [stage for stage in plan.calibrated if stage not in plain]
        assert [stage.name for stage in added] == [f"{kind} scales"]
        attention = 4 * (100**2 * (8 * 500 / 1e10 + 2.5 * 10 / 1e9) + 0.01) / 3
        assert added[0].seconds == pytest.approx(400 * (5e5 + 500**2) / 1e10 + attention + VALUES_S + search)
        assert plan.free == predict(model, RATES, 4, 100).free


def test_a_7b_model_takes_what_one_took() -> None:
    """LLaMA-2-7B's shapes, data-free and unmixed, went from end to end twice: 1.81 and 1.90 GB at the peak."""
    plan = predict(sizes_of_shape(named_shape("llama2-7b")), RATES, 32, 2048, balanced=False)
    assert plan.peak_b(False) == pytest.approx(1.9e9, rel=0.1)
    assert plan.written_b == pytest.approx(3.92e9, rel=0.02)


def test_an_embedding_larger_than_a_shard_is_held_beside_the_head() -> None:
    plan = predict(sizes_of_shape(named_shape("llama3.1-405b")), RATES, 32, 2048)
    assert plan.free[-1].driver_b == BASE_B + 2 * (2 * 128256 * 16384)


def test_packing_is_timed_by_its_own_rate() -> None:
    model = ModelSizes("m", (LayerSize(0, 0, 1000, 500),), 500, 2e6, 1e6, 10)
    plan = predict(model, RATES, 4, 100)
    assert plan.free[-2].seconds == pytest.approx(5e5 / 1e8 + plan.written_b / 5e8)
    assert plan.free[-1].seconds == pytest.approx((plan.written_b + 1e6) / 1e9)


@pytest.mark.slow
def test_a_bare_configuration_is_enough(tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126,
        "num_attention_heads": 128, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    found, window = read_model_sizes(str(path))
    assert window == 2048
    assert found.layers == read_model_sizes("llama3.1-405b")[0].layers
    wanted = r"^the model to plan for must be a folder, a GGUF file, .*, a config\.json, or one of .*, not 'x'$"
    with pytest.raises(InputError, match=wanted):
        read_model_sizes("x")


def test_a_7b_model_takes_the_time_one_took() -> None:
    """Measured with one thread on a machine of other work: 289 s of the processor, 295 with its start and end.

    The rates are those that the probe found after it; what the probe cannot see is fitted to this very run, so the
    judge of the fit is a model of a sixteenth of its layers, which took 23.2 s.
    """
    rates = replace(RATES, free_weights_per_s=3.31e7, packed_weights_per_s=3.9e8)
    rates = replace(rates, hash_b_per_s=1.55e9, write_b_per_s=3.6e9)
    shape = named_shape("llama2-7b")
    whole = predict(sizes_of_shape(shape), rates, 32, 2048, balanced=False)
    assert whole.seconds(False) == pytest.approx(289, rel=0.1)
    part = predict(sizes_of_shape(replace(shape, layers=2, vocabulary=8192)), rates, 32, 2048, balanced=False)
    assert part.seconds(False) == pytest.approx(23.2, rel=0.2)


def test_bfloat16_products_take_their_own_rate() -> None:
    """Forward pass and gradients of inputs are products of a block; sums over tokens are float32."""
    model, slow = sizes_of_shape(replace(named_shape("llama2-7b"), layers=2)), 0.5e10
    plain, other = (predict(model, rates, 4, 100) for rates in (RATES, replace(RATES, block_madds_per_s=slow)))
    through = 4 * 100 * sum(x.weights for x in model.layers)
    more = next(x for x in other.calibrated if x.name == "calibrate").seconds
    more -= next(x for x in plain.calibrated if x.name == "calibrate").seconds
    assert more == pytest.approx(2 * through * (1 / slow - 1 / RATES.block_madds_per_s), rel=1e-6)
    assert other.free == plain.free
