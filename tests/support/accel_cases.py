"""Small machines, profiles and models for the accelerator's tests."""

from dataclasses import replace

import numpy as np

from haloquant.accel.cost_model.cycles import WeightLoad
from haloquant.accel.results import Simulation
from haloquant.accel.simulation import simulate
from haloquant.accel.target import Array, Dram, OnChip, Spmv, Static, Target, Transition
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding, gaussian_frequency
from haloquant.dvfs.schedule import plan
from haloquant.records import BitCount, Codebook, Corner, Gemm, LayerTiles, MacProfile, OperatingPoint, TileGrid

WEIGHTS = np.arange(-128, 128, dtype=np.int16)
FAST = np.array([-128, 0, 1, 2, 4, 8, 16, 32, 64], np.int16)
SLOW = np.arange(-128, 128, 16, dtype=np.int16)
BASE, MIDDLE, TOP = OperatingPoint(1.0, 1.9e9), OperatingPoint(1.1, 2.4e9), OperatingPoint(1.2, 3.7e9)


def toy_profile(voltage_v: float = 1.0) -> MacProfile:
    """Delay and energy grow with the set bits of a weight. The slowest value takes 526 ps (1.9 GHz)."""
    bits = np.array([bin(int(w) & 0xFF).count("1") for w in WEIGHTS], np.float64)
    rank = np.where(np.isin(WEIGHTS, FAST), 0, np.where(np.isin(WEIGHTS, SLOW), 1, 2))
    delay = np.array([1 / 3.7e9, 1 / 2.4e9, 1 / 1.9e9])[rank] * (1 - 1e-6 * (8 - bits))
    energy = (20e-15 + 15e-15 * bits)[None, :]
    corner = Corner("toy", voltage_v, 25.0)
    return MacProfile("toy", "made up", WEIGHTS, (corner,), delay[None, :], delay[None, :], energy, np.zeros(1), 1e-10)


def toy_target(rows: int = 8, columns: int = 8, count: int = 1) -> Target:
    """A small machine in which every part has a cost. Its clocks are claims, so they are not checked."""
    return Target(
        "toy",
        "made up",
        Array(rows, columns, count, WeightLoad.DOUBLE, 0.5, 5.0, True),
        (BASE, MIDDLE, TOP),
        Transition(100e-9, 1e-9, 0.9),
        OnChip(16384.0, float("inf"), 0.2e-12, 0.3e-12),
        OnChip(65536.0, 200e9, 0.25e-12, 0.3e-12),
        Dram(20e9, 0.9, 4e-12, 50e-9),
        Spmv(4, BASE),
        Static(0.01, 0.005),
    )


def honest(target: Target) -> Target:
    """The same machine with clocks that are checked against the profile."""
    return replace(target, points=(BASE,), array=replace(target.array, claimed_clocks=False))


def toy_codebooks() -> tuple[Codebook, ...]:
    """All values at the base point, 16 at a faster one, 9 at the fastest; the order is that of `mix`."""
    return (Codebook("base", WEIGHTS, BASE, 0.0), Codebook("slow", SLOW, MIDDLE, 0.0), Codebook("fast", FAST, TOP, 0.0))


def mix(everything: float, slow: float, fast: float) -> list[ClassMix]:
    """Tiles by class: all 256 values, 16 values, 9 values."""
    shares = zip((everything, slow, fast), (WEIGHTS, SLOW, FAST), strict=True)
    return [ClassMix(float(share), values, gaussian_frequency(values)) for share, values in shares]


HEAD = mix(1, 0, 0)
EIGHT = Encoding(8.0, 0.0)


def tiny_workload(m: int = 5, layers: int = 2, attention: bool = False, phase: str = "prefill") -> Workload:
    """A few small layers: q and k in one group, then o; `attention` adds a product between them."""
    gemms: list[Gemm] = []
    group = 0
    for i in range(layers):
        gemms += [Gemm(f"{i}.q", m, 20, 24, group), Gemm(f"{i}.k", m, 20, 13, group)]
        group += 1
        if attention:
            gemms.append(Gemm(f"{i}.scores", m, 8, 9, group, 3, False))
            group += 1
        gemms.append(Gemm(f"{i}.o", m, 24, 20, group))
        group += 1
    return Workload(f"tiny {phase}", "prefill" if phase == "prefill" else "decode", tuple(gemms), m, 1, 9)


def random_tiles(
    workload: Workload, seed: int, classes: int = 3, tile: int = 8, sparse: int = 3
) -> dict[str, LayerTiles]:
    """Tiles of random classes with random values of their class's codebook; every layer has its own."""
    rng = np.random.default_rng(seed)
    values = (WEIGHTS, SLOW, FAST)
    made: dict[str, LayerTiles] = {}
    for gemm in workload.gemms:
        if not gemm.weight_stationary:
            continue
        grid = TileGrid(gemm.n, gemm.k, tile, tile)
        chosen = rng.integers(0, classes, (grid.down, grid.across)).astype(np.uint8)
        counts = np.zeros((grid.down, grid.across, 256), np.int64)
        for d in range(grid.down):
            for a in range(grid.across):
                picked = rng.choice(values[chosen[d, a]], tile * tile).astype(np.int64)
                counts[d, a] = np.bincount(picked + 128, minlength=256)
        bits = BitCount(weights=gemm.k * gemm.n, codes=4 * gemm.k * gemm.n, scales=16 * gemm.n)
        made[gemm.layer] = LayerTiles(gemm.layer, grid, chosen, WEIGHTS, counts, sparse, bits)
    return made


def tiny_case(seed: int = 0) -> tuple[Workload, dict[str, LayerTiles]]:
    """A few small layers, and tiles for them."""
    workload = tiny_workload()
    return workload, random_tiles(workload, seed)


def run_in_blocks() -> tuple[Simulation, Target]:
    """A simulation of HALO whose products take several blocks of rows, and its machine."""
    workload = tiny_workload(30, attention=True)
    tiles = random_tiles(workload, 1)
    target = toy_target(count=2)
    schedule = plan(workload.gemms, tiles, (BASE, MIDDLE, TOP), BASE, "serpentine", 1500.0)
    assert max(schedule.row_blocks.values()) > 2
    return simulate(workload, tiles, schedule, target, toy_profile(), system="HALO"), target
