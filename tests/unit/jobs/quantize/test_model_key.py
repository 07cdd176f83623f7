"""The key of a packed model covers everything that the model depends on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace as replace_struct
from safetensors.numpy import save_file

from haloquant.jobs.quantize import model_key as module
from haloquant.jobs.quantize.model_key import model_key
from haloquant.jobs.quantize.request import Request
from haloquant.lm.checkpoint.reader import content_hash, open_checkpoint
from haloquant.recipe import Hardware, Recipe
from haloquant.store.profiles import find_profile
from support.hostile_files import CONFIG, ROLES

PROFILE = find_profile("default")


def save_model(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = {f"model.layers.0.{role}.weight": rng.standard_normal(shape).astype("f4") for role, shape in ROLES.items()}
    save_file(arrays | {"model.embed_tokens.weight": np.ones((16, 8), np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def test_the_key_of_a_model_changes_with_everything_that_it_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_model(tmp_path / "model")
    windows = np.arange(12).reshape(3, 4)
    first = Request(PROFILE, "bal", Recipe(hardware=Hardware(tile=8)), windows, "3 windows")

    def key(exclude: tuple[str, ...] = (), **changes: object) -> str:
        checkpoint = open_checkpoint(folder, exclude=exclude)
        return model_key(content_hash(checkpoint), checkpoint, replace(first, **changes))

    seen = {"as it is": key()}
    assert key() == seen["as it is"]  # change nothing, and the key stays
    assert key(calibration=windows.astype(np.int32)) == seen["as it is"]
    seen["goal"] = key(goal="acc-opt")
    seen["source"] = key(source="other")
    seen["no calibration"] = key(calibration=None)
    seen["other tokens"] = key(calibration=windows + 1)
    seen["other windows"] = key(calibration=windows.reshape(4, 3))
    seen["exclude"] = key(exclude=("q_proj",))
    recipe = first.recipe
    for field, value in {"tile": 16, "margin": 0.1, "clocks_ghz": (3.0, 2.0)}.items():
        seen[field] = key(recipe=replace_struct(recipe, hardware=replace_struct(recipe.hardware, **{field: value})))
    for field, value in {
        "sparse_budget": 0.01,
        "compensate": not recipe.quantize.compensate,
        "refine": 0.25,
        "transform": "awq",
        "fast_words": 8,
        "slow_words": 15,
        "fast_loss_db": 1.5,
        "slow_loss_db": 0.5,
        "energy_weight": 0.1,
        "cost": "edp",
        "method": "paper",
        "kept_share": 0.9,
    }.items():
        seen[field] = key(recipe=replace_struct(recipe, quantize=replace_struct(recipe.quantize, **{field: value})))
    seen["seed"] = key(recipe=replace_struct(recipe, seed=recipe.seed + 1))
    for field, value in {
        "weights": PROFILE.weights + np.int16(1),
        "corners": (replace(PROFILE.corners[0], temperature_c=99.0), *PROFILE.corners[1:]),
        "energy_j": PROFILE.energy_j * 2,
        "sensitised_delay_s": PROFILE.sensitised_delay_s / 2,
    }.items():
        seen[f"profile {field}"] = key(profile=replace(PROFILE, **{field: value}))
    (folder / "tokenizer.json").write_text("{}")
    seen["tokenizer"] = key()
    (folder / "tokenizer.json").write_text("{ }")
    seen["another tokenizer"] = key()
    (folder / "config.json").write_text(json.dumps(CONFIG | {"rms_norm_eps": 1e-3}))
    seen["config"] = key()
    monkeypatch.setattr(module, "step_versions", lambda: {"code sha256": "other"})
    seen["code"] = key()
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    seen["one bit of the weights"] = key()
    assert len(set(seen.values())) == len(seen)
