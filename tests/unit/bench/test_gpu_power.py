"""The measuring command: order, statistics and controls, on a made-up board; and what it says without one."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

_PATH = Path(__file__).resolve().parents[3] / "bench" / "gpu" / "power.py"
_spec = importlib.util.spec_from_file_location("gpu_power_bench", _PATH)
assert _spec is not None and _spec.loader is not None
power = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = power  # dataclasses look their module up
_spec.loader.exec_module(power)


class Board:
    """A clock and a counter that move when a product runs: 1 ms each, with the joules of its kind."""

    def __init__(self, joules: dict[str, float]) -> None:
        self.time, self.energy, self.order = 0.0, 0.0, []
        self.joules = joules

    def product(self, kind: str):
        def run() -> None:
            self.time += 1e-3
            self.energy += self.joules[kind] * (1 + 0.2 * self.time)  # drifts as it warms
            if not self.order or self.order[-1] != kind:
                self.order.append(kind)

        return run


def test_windows_are_interleaved_and_the_ratio_survives_drift() -> None:
    joules = {"W8": 1.0, "W4": 0.8, "zeros": 0.5}
    board = Board(joules)
    run = {kind: board.product(kind) for kind in joules}
    windows = power.measure(run, lambda: board.energy, lambda: (1500.0, 60.0), 0.01, 40, 0, lambda: board.time)
    assert len(windows) == 3 * 40 and {w.round for w in windows} == set(range(1, 41))
    by_round = [tuple(w.kind for w in windows if w.round == r) for r in range(1, 41)]
    assert all(set(order) == set(joules) for order in by_round) and len(set(by_round)) > 3
    found = power.summary(windows, 1e12, "W8", 0)
    assert found["W8"]["ratio"] == 1.0
    for kind in ("W4", "zeros"):
        low, high = found[kind]["ratio_95"]
        assert low <= found[kind]["ratio"] <= high
        assert found[kind]["ratio"] == pytest.approx(joules[kind], rel=0.02)
    assert found["W8"]["pj_per_mac"] > 1.0 and found["W8"]["clock_mhz"] == 1500.0


def test_controls_have_the_values_they_claim() -> None:
    rng = np.random.default_rng(0)
    drawn = {kind: power.weights(kind, 64, rng) for kind in power.KINDS}
    assert all(values.shape == (64, 64) and values.dtype == np.int8 for values in drawn.values())
    assert not drawn["zeros"].any()
    assert set(np.unique(drawn["HALO9"])) <= set(power.NINE)
    assert set(np.unique(drawn["HALO9 permuted"])) <= set(power.NINE)
    assert np.abs(drawn["W4"]).max() <= 7 and not (drawn["W4 x16"] % 16).any()
    assert len(np.unique(drawn["W8"])) > 100


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here, and this is about its absence")
    assert power.main(["--size", "64"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "skipped": "no measurement: torch sees no NVIDIA GPU on this machine"
    }


def test_bad_sizes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert power.main(["--size", "100"]) == 2
    assert capsys.readouterr().err.startswith("size must be a multiple of 16 from 32 on")


def test_the_interval_is_that_of_rounds_and_vanishes_without_noise() -> None:
    def window(kind: str, number: int, joules: float) -> object:
        return power.Window(kind, number, 4, 2.0, joules, 1500.0, 60.0)

    quiet = [window(kind, r, j) for r in range(1, 6) for kind, j in (("W8", 8.0), ("zeros", 4.0))]
    found = power.summary(quiet, 1e12, "W8", 0)
    assert found["zeros"]["ratio"] == 0.5 and found["zeros"]["ratio_95"] == [0.5, 0.5]
    assert found["W8"]["pj_per_mac"] == pytest.approx(2.0)  # 8 J over 4 products of 1e12
    assert found["W8"]["power_w"] == 4.0 and found["W8"]["tera_macs_per_s"] == 2.0
    # what a whole round has in common moves both kinds and cancels in the ratio, not in the energy
    warm = [window(kind, r, j * (1 + r)) for r in range(1, 6) for kind, j in (("W8", 8.0), ("zeros", 4.0))]
    found = power.summary(warm, 1e12, "W8", 0)
    assert found["zeros"]["ratio_95"] == pytest.approx([0.5, 0.5])
    low, high = found["W8"]["pj_per_mac_95"]
    assert low < found["W8"]["pj_per_mac"] < high


def test_the_order_is_drawn_anew_and_repeats_with_its_seed() -> None:
    def orders(seed: int) -> list[str]:
        board = Board({kind: 1.0 for kind in power.KINDS})
        run = {kind: board.product(kind) for kind in power.KINDS}
        made = power.measure(run, lambda: board.energy, lambda: (0.0, 0.0), 0.002, 6, seed, lambda: board.time)
        return [window.kind for window in made]

    assert orders(1) == orders(1) != orders(2)
    first = [orders(3)[7 * i : 7 * i + 7] for i in range(6)]
    assert all(sorted(order) == sorted(power.KINDS) for order in first)
    assert len({tuple(order) for order in first}) > 1


def test_every_name_of_the_energy_counter_is_in_the_library() -> None:
    nvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    used = set(re.findall(r"pynvml\.(\w+)", _PATH.read_text()))
    assert "nvmlDeviceGetTotalEnergyConsumption" in used
    assert [name for name in used if not hasattr(nvml, name)] == []
    assert issubclass(nvml.NVMLError_LibraryNotFound, nvml.NVMLError)  # a machine without a driver is a Skip, too
