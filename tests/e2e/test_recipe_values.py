"""No value of a recipe is ignored, and a recipe that is called sound runs to its end.

Every key that the schema has is changed once. A job in a copy of a finished job's folder must then give another result,
so a step whose key does not cover the value fails here too. Values at the ends of their ranges run to the end, or are
refused before any work.
"""

import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

import haloquant
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.dvfs.classes import Classes
from haloquant.errors import HaloquantError
from haloquant.jobs.compare import job, result_rows, results
from haloquant.jobs.compare.job import Job, run
from haloquant.jobs.compare.method_files import MethodResult
from haloquant.jobs.machines.method_cost import ScheduledPass
from haloquant.recipe import Recipe, read_recipe
from haloquant.store.profiles import find_profile, write_profile
from support.draws import daily
from support.recipe_keys import recipe_keys, value_of, with_value
from support.small_job import save_recipe

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

# Another value for every key. MODEL, TEXT and MAC stand for files that the fixture writes.
CHANGED: dict[str, Any] = {
    "seed": 1,
    "device": "cuda:99",  # an error everywhere; a GPU that is there would give another result
    "model.path": "MODEL",
    "model.exclude": ("down_proj",),
    "text.calibration": "TEXT",
    "text.calibration_tokens": 256,
    "text.evaluation": "TEXT",
    "text.evaluation_tokens": 256,
    "hardware.profile": "MAC",
    "hardware.targets": ("paper_tpu",),
    "hardware.gpus": ("h200",),
    "hardware.tile": 64,
    "hardware.margin": 0.1,
    "hardware.delay_basis": "sensitised",
    "hardware.clocks_ghz": (4.5, 3.0),
    "quantize.goals": ("acc-opt",),
    "quantize.rivals": ("rtn-w3-g128",),
    "quantize.activations": "tensor",
    "quantize.activation_bits": 4,
    "quantize.low_share": 0.25,
    "quantize.low_bits": 2,
    "quantize.sparse_budget": 0.001,
    "quantize.prune_to_zero": 0.5,
    "quantize.fast_words": 4,
    "quantize.slow_words": 9,
    "quantize.fast_loss_db": 0.1,
    "quantize.slow_loss_db": 3.0,
    "quantize.compensate": False,
    "quantize.refine": 0.0,
    "quantize.value_hessian": "inputs",
    "quantize.calibration_dtype": "bfloat16",
    "quantize.method": "paper",
    "quantize.kept_share": 0.3,
    "quantize.energy_weight": 1.0,
    "quantize.cost": "energy",
    "quantize.transform": "smoothquant",
    "quantize.input_sparsity": 0.5,
    "quantize.input_allocation": "divergence",
    "quantize.sweep": (0.5,),
    "quantize.budget.bits_per_weight": 4.8,
    "quantize.budget.time_s": 2.6e-7,
    "quantize.budget.energy_j": 5.7e-7,
    "quantize.budget.level": "layer",
    "workload.prefill_tokens": 17,
    "workload.decode_batch": 2,
    "workload.decode_context": 17,
    "workload.shapes": "opt-1.3b",
}
# What else must be set for a key to be allowed: then the job is compared with one that has these settings alone.
BESIDE: dict[str, dict[str, Any]] = {
    "quantize.method": {"quantize.refine": 0.0, "quantize.sparse_budget": 0.005},
    "quantize.kept_share": {"quantize.method": "paper", "quantize.goals": ("acc-opt",)},
    "quantize.cost": {"hardware.tile": 20, "quantize.sweep": (0.2, 0.4, 0.6, 0.8)},  # tiles that are not full differ
    "quantize.low_share": {"quantize.activations": "mixed"},
    "quantize.low_bits": {"quantize.activations": "mixed"},
    "quantize.input_allocation": {"quantize.input_sparsity": 0.5},
    "quantize.budget.time_s": {"quantize.cost": "simulated:edge_lpddr5x"},
    "quantize.budget.energy_j": {"quantize.cost": "simulated:edge_lpddr5x"},
    "quantize.budget.level": {"quantize.budget.bits_per_weight": 4.8},
}
# Values at the ends of their ranges, and pairs that meet in one place.
TOGETHER: dict[str, dict[str, Any]] = {
    "a small tile, a large sparse part and a token at a time": {
        "hardware.tile": 5, "quantize.sparse_budget": 0.999, "workload.prefill_tokens": 1, "workload.decode_context": 1,
    },
    "a tile beyond the layers, no sparse part and nothing to lose": {
        "hardware.tile": 200, "quantize.sparse_budget": 0.0, "quantize.fast_loss_db": 0.0, "quantize.slow_loss_db": 0.0,
    },
    "a named shape with little time": {"workload.shapes": "opt-1.3b", "seed": 2, "hardware.margin": 0.99},
    "tensor scales after a transform, with more fast words": {
        "quantize.activations": "tensor", "quantize.transform": "awq", "quantize.fast_words": 9,
        "quantize.slow_words": 2,
    },
    "one token of each text, and everything may be lost": {
        "text.calibration_tokens": 1, "text.evaluation_tokens": 1, "quantize.fast_loss_db": 200.0,
        "quantize.slow_loss_db": 200.0,
    },
    "rounding to nearest of the goal with the most time": {
        "quantize.compensate": False, "quantize.refine": 0.0, "quantize.goals": ("perf-opt",),
        "quantize.sweep": (0.0, 1.0),
    },
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def only_results() -> Iterator[None]:
    """Neither drawings nor sweeps of a machine's settings: they take most of a small job's time.

    A pass is simulated once for equal tiles, workload, machine and classes, on which alone it depends.
    """
    known: dict[bytes, ScheduledPass | None] = {}

    def run_method(
        name: str, method: MethodResult, workload: Workload, target: Target, classes: Classes
    ) -> ScheduledPass | None:
        key = pickle.dumps((name, method.tiles, workload, target, classes))
        if key not in known:
            known[key] = result_rows.run_method(name, method, workload, target, classes)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "write_report", lambda *_: None)
        patch.setattr(results, "run_method", run_method)
        patch.setattr(results, "sweep_rows", lambda *_: [])
        patch.setattr(results, "new_silicon_results", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def finished(small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Job]:
    """A finished job in the folder `out`, beside another model, another text and another MAC."""
    pytest.importorskip("torch")
    from support.tiny_model import save_one_block

    home = tmp_path_factory.mktemp("job")
    for name, epsilon in (("model", 1e-6), ("MODEL", 1e-3)):
        save_one_block(home / name, rms_norm_eps=epsilon)
    (home / "TEXT").write_text(small_text.read_text()[::-1])
    mac = find_profile("default")
    write_profile(replace(mac, energy_j=mac.energy_j * 1.5), home / "MAC")
    recipe = read_recipe(save_recipe(home / "recipe.toml", home / "model", small_text))
    recipe = with_value(with_value(recipe, "quantize.rivals", ()), "quantize.goals", ("bal",))
    return recipe, run(recipe, home / "out")


def changed(recipe: Recipe, home: Path, values: dict[str, Any]) -> Recipe:
    for key, value in values.items():
        recipe = with_value(recipe, key, str(home / value) if value in ("MODEL", "TEXT", "MAC") else value)
    return recipe


def again(finished: tuple[Recipe, Job], out: Path, values: dict[str, Any]) -> Job:
    """The job with other values, in a copy of the finished job's folder."""
    recipe, done = finished
    shutil.copytree(done.folder, out, symlinks=True)
    return run(changed(recipe, done.folder.parent, values), out)


def numbers(done: Job) -> tuple[Any, dict[str, bytes]]:
    """The results without the copy of the recipe, and the packed model."""
    results = msgspec.to_builtins(msgspec.structs.replace(done.results, provenance={}))
    return results, {file.name: file.read_bytes() for file in (done.folder / "model").iterdir()}


def test_every_key_has_a_changed_value(finished: tuple[Recipe, Job]) -> None:
    assert list(CHANGED) == list(recipe_keys())
    for key, value in CHANGED.items():
        assert value_of(finished[0], key) != value


@pytest.mark.parametrize("key", CHANGED)
def test_a_changed_value_changes_the_result(key: str, finished: tuple[Recipe, Job], tmp_path: Path) -> None:
    beside = BESIDE.get(key, {})
    before = again(finished, tmp_path / "before", beside) if beside else finished[1]
    try:
        made = again(finished, tmp_path / "out", {**beside, key: CHANGED[key]})
    except HaloquantError:
        assert key == "device"
        return
    assert numbers(made) != numbers(before)


@pytest.mark.thinned
@pytest.mark.parametrize("name", daily(TOGETHER, list(TOGETHER)[:4]))
def test_what_is_called_sound_runs_to_the_end(name: str, finished: tuple[Recipe, Job], tmp_path: Path) -> None:
    recipe, done = finished
    asked = changed(recipe, done.folder.parent, TOGETHER[name])
    try:
        haloquant.validate(asked)
    except HaloquantError as error:
        assert "\n" not in str(error)
        with pytest.raises(type(error)):
            run(asked, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return
    assert again(finished, tmp_path / "out", TOGETHER[name]).results.methods


def test_narrow_activations_move_fewer_bytes_on_the_machines_and_are_multiplied_as_before(
    finished: tuple[Recipe, Job], tmp_path: Path
) -> None:
    narrow = again(finished, tmp_path / "out", {"quantize.activation_bits": 4}).results.methods
    for before, after in zip(finished[1].results.methods, narrow, strict=True):
        assert before.name == after.name and len(before.costs) == len(after.costs) > 0
        for old, new in zip(before.costs, after.costs, strict=True):
            assert new.energy_j["mac"] == old.energy_j["mac"]
            assert (new.energy_j["sram"] < old.energy_j["sram"]) == (before.name != "fp16")
