"""Measure whether weight values change the power of an NVIDIA GPU: energy per product of one INT8 matrix product.

The same activations are multiplied with weights of one shape but different values: W8 and W4 grids, HALO's 16 and 9
words, zeros, and the nine words permuted (same histogram). Measurements alternate between these, in a new random order
in every round, so that changes of temperature and clock affect all equally. The energy comes from NVML's counter (Volta
and newer). Clocks and temperature are logged, and no setting of the board is changed. Without such a GPU the program
says so and returns 0.

    python bench/gpu/power.py [--size 8192] [--seconds 5] [--rounds 10] [--seed 0]

Prints JSON: per kind energy per multiply-accumulate with a 95 % bootstrap interval, its ratio to W8, and clocks.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

NINE = np.array([-128, 0, 1, 2, 4, 8, 16, 32, 64], np.int8)
SIXTEEN = np.array([-128, -64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64], np.int8)


class Skip(Exception):
    """There is nothing to measure on this machine; the message says why."""


@dataclass(frozen=True)
class Window:
    """One stretch of back-to-back products of one kind."""

    kind: str
    round: int
    products: int
    seconds: float
    joules: float
    clock_mhz: float
    temperature_c: float


def weights(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Weights of one kind: Gaussian weights rounded to the nearest word, sigma a third of the largest magnitude."""
    if kind == "zeros":
        return np.zeros((size, size), np.int8)
    if kind == "HALO9 permuted":
        return rng.permutation(weights("HALO9", size, rng).ravel()).reshape(size, size)
    words = {
        "W8": np.arange(-127, 128, dtype=np.int8),
        "W4": np.arange(-7, 8, dtype=np.int8),
        "W4 x16": (16 * np.arange(-7, 8)).astype(np.int8),
        "HALO16": SIXTEEN,
        "HALO9": NINE,
    }[kind].astype(np.float32)
    middle = (words[1:] + words[:-1]) / 2
    drawn = rng.standard_normal((size, size), dtype=np.float32) * float(np.abs(words).max()) / 3
    return words[np.searchsorted(middle, drawn)].astype(np.int8)


KINDS = ("W8", "W4", "W4 x16", "HALO16", "HALO9", "HALO9 permuted", "zeros")


def measure(
    run: Mapping[str, Callable[[], None]],
    joules: Callable[[], float],
    state: Callable[[], tuple[float, float]],
    seconds: float,
    rounds: int,
    seed: int,
    clock: Callable[[], float] = time.monotonic,
) -> list[Window]:
    """Run every kind once per round in a new random order; one call of `run[kind]` is one finished product.

    The first round warms up and is thrown away.
    """
    rng = np.random.default_rng(seed)
    windows: list[Window] = []
    for number in range(rounds + 1):
        for kind in rng.permutation(list(run)).tolist():
            begun, spent, products = clock(), joules(), 0
            while clock() - begun < seconds:
                run[kind]()
                products += 1
            ended, used = clock(), joules()
            mhz, celsius = state()
            if number:
                windows.append(Window(kind, number, products, ended - begun, used - spent, mhz, celsius))
    return windows


def summary(
    windows: Sequence[Window], macs_per_product: float, reference: str, seed: int
) -> dict[str, dict[str, object]]:
    """Energy per multiply-accumulate and its ratio to `reference`, with 95 % bootstrap intervals over rounds.

    Rounds are drawn as a whole, so what a round has in common cancels in the ratio.
    """
    kinds = sorted({w.kind for w in windows})
    rounds = sorted({w.round for w in windows})
    per = {(w.kind, w.round): w.joules / (w.products * macs_per_product) for w in windows}
    table = np.array([[per[k, r] for r in rounds] for k in kinds])
    drawn = np.random.default_rng(seed).integers(0, len(rounds), (2000, len(rounds)))
    means = table[:, drawn].mean(axis=2)
    base = kinds.index(reference)
    found: dict[str, dict[str, object]] = {}
    for i, kind in enumerate(kinds):
        mine = [w for w in windows if w.kind == kind]
        ratio = means[i] / means[base]
        found[kind] = {
            "pj_per_mac": float(table[i].mean() * 1e12),
            "pj_per_mac_95": [float(x * 1e12) for x in np.percentile(means[i], [2.5, 97.5])],
            "ratio": float(table[i].mean() / table[base].mean()),
            "ratio_95": [float(x) for x in np.percentile(ratio, [2.5, 97.5])],
            "power_w": float(np.mean([w.joules / w.seconds for w in mine])),
            "tera_macs_per_s": float(np.mean([w.products * macs_per_product / w.seconds for w in mine]) / 1e12),
            "clock_mhz": float(np.mean([w.clock_mhz for w in mine])),
            "temperature_c": float(np.mean([w.temperature_c for w in mine])),
        }
    return found


Board = tuple[dict[str, Callable[[], None]], Callable[[], float], Callable[[], tuple[float, float]], str]


def board(size: int, seed: int) -> Board:
    """The real board's products, energy counter, state and name.

    Raises:
        Skip: without torch, NVML, a GPU or an energy counter.
    """
    try:
        import torch
    except ImportError as error:
        raise Skip("no measurement: torch is not installed; install it with pip install 'haloquant[gpu]'") from error
    if not torch.cuda.is_available():
        raise Skip("no measurement: torch sees no NVIDIA GPU on this machine")
    try:
        import pynvml
    except ImportError as error:
        raise Skip(
            "no measurement: nvidia-ml-py is not installed; install it with pip install 'haloquant[gpu]'"
        ) from error
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        raise Skip(f"no measurement: this GPU gives no energy counter through NVML ({error})") from error
    rng = np.random.default_rng(seed)
    left = torch.from_numpy(rng.integers(-128, 128, (size, size)).astype(np.int8)).cuda()
    right = {kind: torch.from_numpy(weights(kind, size, rng)).cuda() for kind in KINDS}

    def product(kind: str) -> Callable[[], None]:
        operand = right[kind].t()  # the second operand is read by columns

        def run() -> None:
            torch._int_mm(left, operand)
            torch.cuda.synchronize()

        return run

    def joules() -> float:
        torch.cuda.synchronize()
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3

    def state() -> tuple[float, float]:
        clock = pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)
        return float(clock), float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))

    return {kind: product(kind) for kind in KINDS}, joules, state, torch.cuda.get_device_name(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print, or say why not."""
    parser = argparse.ArgumentParser(description="Energy of INT8 products by weight values on a real NVIDIA GPU.")
    parser.add_argument("--size", type=int, default=8192, help="rows and columns of both operands, a multiple of 16")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a window")
    parser.add_argument("--rounds", type=int, default=10, help="windows of each kind")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.size < 32 or given.size % 16 or given.seconds <= 0 or given.rounds < 1:
        print("size must be a multiple of 16 from 32 on, seconds above 0 and rounds at least 1", file=sys.stderr)
        return 2
    try:
        run, joules, state, name = board(given.size, given.seed)
    except Skip as reason:
        print(json.dumps({"skipped": str(reason)}))
        return 0
    windows = measure(run, joules, state, given.seconds, given.rounds, given.seed)
    report = {
        "gpu": name,
        "size": given.size,
        "window_s": given.seconds,
        "rounds": given.rounds,
        "counter": "nvmlDeviceGetTotalEnergyConsumption, whole board",
        "reference": "W8",
        "kinds": summary(windows, float(given.size) ** 3, "W8", given.seed),
        "windows": [asdict(w) for w in windows],
    }
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
