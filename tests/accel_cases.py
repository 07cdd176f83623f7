"""Small machines, profiles and models for the accelerator's tests."""

from dataclasses import replace

import numpy as np

from haloquant.accel.cycles import WeightLoad
from haloquant.accel.synthetic import ClassMix, Encoding, gaussian_frequency
from haloquant.accel.target import Array, Dram, OnChip, Spmv, Static, Target, Transition
from haloquant.types import Codebook, Corner, MacProfile, OperatingPoint

WEIGHTS = np.arange(-128, 128, dtype=np.int16)
FAST = np.array([-128, 0, 1, 2, 4, 8, 16, 32, 64], np.int16)
SLOW = np.arange(-128, 128, 16, dtype=np.int16)
BASE, MIDDLE, TOP = OperatingPoint(1.0, 1.9e9), OperatingPoint(1.1, 2.4e9), OperatingPoint(1.2, 3.7e9)


def toy_profile(voltage_v: float = 1.0) -> MacProfile:
    """Delay grows with the set bits of a weight, energy too: 526 ps (1.9 GHz) at most."""
    bits = np.array([bin(int(w) & 0xFF).count("1") for w in WEIGHTS], np.float64)
    rank = np.where(np.isin(WEIGHTS, FAST), 0, np.where(np.isin(WEIGHTS, SLOW), 1, 2))
    delay = np.array([1 / 3.7e9, 1 / 2.4e9, 1 / 1.9e9])[rank] * (1 - 1e-6 * (8 - bits))
    energy = (20e-15 + 15e-15 * bits)[None, :]
    corner = Corner("toy", voltage_v, 25.0)
    return MacProfile("toy", "made up", WEIGHTS, (corner,), delay[None, :], delay[None, :], energy, np.zeros(1), 1e-10)


def toy_target(rows: int = 8, columns: int = 8, count: int = 1) -> Target:
    """A small machine whose every part costs something. Its points are its own claim."""
    return Target(
        "toy",
        "made up",
        Array(rows, columns, count, WeightLoad.DOUBLE, 0.5, 0.4e-12, True),
        (BASE, MIDDLE, TOP),
        Transition(100e-9, 1e-9, 0.9),
        OnChip(16384.0, float("inf"), 0.2e-12, 0.3e-12),
        OnChip(65536.0, 200e9, 0.25e-12, 0.3e-12),
        Dram(20e9, 0.9, 4e-12, 50e-9),
        Spmv(4, BASE),
        Static(0.01, 0.005),
    )


def honest(target: Target) -> Target:
    """The same machine, clocked by what the profile's slowest value meets."""
    return replace(target, points=(BASE,), array=replace(target.array, claimed_clocks=False))


def toy_codebooks() -> tuple[Codebook, ...]:
    """All values at the base, 16 faster, 9 fastest: the order of `mix`."""
    return (Codebook("base", WEIGHTS, BASE, 0.0), Codebook("slow", SLOW, MIDDLE, 0.0), Codebook("fast", FAST, TOP, 0.0))


def mix(everything: float, slow: float, fast: float) -> list[ClassMix]:
    """Tiles by class: all 256 values, 16 values, 9 values."""
    shares = zip((everything, slow, fast), (WEIGHTS, SLOW, FAST), strict=True)
    return [ClassMix(float(share), values, gaussian_frequency(values)) for share, values in shares]


HEAD = mix(1, 0, 0)
EIGHT = Encoding(8.0, 0.0)
