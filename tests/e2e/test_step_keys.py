"""A rerun of a job takes a finished step only if nothing that the step depends on has changed."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from haloquant.jobs import provenance
from haloquant.jobs.compare import job, results
from haloquant.jobs.compare.job import run
from haloquant.recipe import read_recipe
from haloquant.records import MacProfile
from haloquant.store.profiles import find_profile, write_profile
from support.small_job import save_recipe_of_one_goal

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True, scope="module")
def undrawn() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "write_report", lambda *_: None)
        for rows in ("sweep_rows", "new_silicon_results"):  # no steps, and half of the time
            patch.setattr(results, rows, lambda *_: [])
        yield


@pytest.fixture(scope="module")
def finished(one_block_folder: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job in `out`, with its inputs beside it."""
    home = tmp_path_factory.mktemp("job")
    shutil.copytree(one_block_folder, home / "model")
    shutil.copyfile(small_text, home / "text.txt")
    write_profile(find_profile("default"), home / "mac.json")
    recipe = save_recipe_of_one_goal(home / "recipe.toml", home / "model", home / "text.txt")
    recipe.write_text(recipe.read_text().replace("tile = 32", f'tile = 32\nprofile = "{home / "mac.json"}"'))
    assert run(read_recipe(recipe), home / "out").reused == ()
    return home


def rerun(finished: Path, home: Path, change: Callable[[Path], None]) -> tuple[set[str], set[str]]:
    """Return the steps that a rerun in a copy of the folder made again after a change, and those that it reused."""
    shutil.copytree(finished, home, symlinks=True)
    recipe = home / "recipe.toml"
    recipe.write_text(recipe.read_text().replace(str(finished), str(home)))
    change(home)
    before = {path.name for path in (home / "out" / "steps").iterdir()}
    done = run(read_recipe(recipe), home / "out")
    after = {path.name for path in (home / "out" / "steps").iterdir()}
    return {name.rpartition("-")[0] for name in after - before}, set(done.reused)


def edit_profile(**changes: Callable[[MacProfile], object]) -> Callable[[Path], None]:
    def change(home: Path) -> None:
        profile = find_profile(str(home / "mac.json"))
        write_profile(replace(profile, **{name: make(profile) for name, make in changes.items()}), home / "mac.json")

    return change


def swap_two_tokens(home: Path) -> None:
    file = home / "model" / "tokenizer.json"
    document = json.loads(file.read_text())
    words = document["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    file.write_text(json.dumps(document))


def append_to_tokenizer(home: Path) -> None:
    file = home / "model" / "tokenizer_config.json"
    file.write_text(file.read_text() + "\n")


def flip_a_bit(home: Path) -> None:
    file = home / "model" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-4] ^= 1
    file.write_bytes(data)


def raise_energies(profile: MacProfile) -> np.ndarray:
    return profile.energy_j * 1.5


CHANGES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "nothing": (lambda home: None, set()),
    "a tokenizer that gives the same tokens": (append_to_tokenizer, {"packed"}),
    "a tokenizer that gives other tokens": (swap_two_tokens, {"tile-losses", "fp16", "classes", "halo-bal", "packed"}),
    "one bit of the weights": (flip_a_bit, {"tile-losses", "fp16", "classes", "halo-bal", "packed"}),
    "energies of the MAC": (edit_profile(energy_j=raise_energies), {"classes", "packed"}),
    "a corner of the MAC": (
        edit_profile(corners=lambda p: (replace(p.corners[0], temperature_c=77.0), *p.corners[1:])),
        {"classes", "packed"},
    ),
    "an origin of the MAC": (edit_profile(provenance=lambda p: {**p.provenance, "x": "y"}), {"classes", "packed"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_is_made_again(name: str, finished: Path, tmp_path: Path) -> None:
    change, expected = CHANGES[name]
    made, reused = rerun(finished, tmp_path / "job", change)
    assert expected <= made, made
    if name == "nothing":
        assert made == set() and {"fp16", "tile-losses", "halo-bal"} <= reused


@pytest.mark.slow
def test_other_code_makes_every_step_again(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_code_sha256", lambda: "other")
    _, reused = rerun(finished, tmp_path / "job", lambda home: None)
    assert reused == set()
