"""Compare the fastest words of every MAC with the library's best MAC for all weight values.

Usage: python bench/frontier.py LIBERTY_FOLDER [LIBRARY ...] [mul | accumulating]

Prints one JSON line for each MAC, then one for each library.

Every speed is given relative to two baselines: the MAC's own slowest value (`own`, the ratio that papers quote), and
the library's fastest MAC that computes all values in one clock (`absolute`, the gain over a design without HALO). The
accuracy of the words is their signal-to-noise ratio on Gaussian and Student t (5 degrees of freedom) weights with the
best scale. It is compared with rounding to nearest on the plain INT4 grid.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from haloquant.circuits.characterization import typical_conditions
from haloquant.circuits.netlist.logic_check import check_mac
from haloquant.circuits.netlist.parser import library_cells
from haloquant.circuits.ports import weight_values
from haloquant.circuits.rtl.generator import MacSpec
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.jobs.mac.catalogue import mac_from_spec
from haloquant.jobs.mac.profile_building import synthesize_mac
from haloquant.store.profiles import find_profile, shipped_profiles

LIBRARIES = {
    "nangate45": ("nangate45/nangate45_typ", 300e-12),
    "asap7": ("asap7/trim_asap7_rvt_tt", 250e-12),
    "sky130hd": ("sky130hd/sky130hd_tt_025C_1v80", 1200e-12),
}
POINTS = (np.arange(4000) + 0.5) / 4000
WEIGHTS = {"gaussian": norm.ppf(POINTS), "t5": student.ppf(POINTS, 5)}
STAGES = {"mul": ("mul",), "accumulating": ("fused", "mac", "pipe", "save")}


@dataclass(frozen=True)
class Candidate:
    """One MAC and how it is mapped."""

    spec: MacSpec
    script: str = "balance"
    keep: bool = False
    period: float = 1.0


def candidates() -> list[Candidate]:
    """Return the MACs to compare; those with a single mode come first."""
    plain = [Candidate(MacSpec(rows=rows, adder="ks")) for rows in ("digits", "boothw", "bw", "sx", "sm")]
    plain += [Candidate(MacSpec(rows="digits", adder="bk")), Candidate(MacSpec(rows="native"))]
    plain += [Candidate(MacSpec(), "sharing", period=1.5)]
    paper = [Candidate(MacSpec(rows="sx", tree="array", adder="rca"), "keep", keep=True)]
    paper += [Candidate(MacSpec(rows="sx", tree="array", adder="rca"))]
    bypass = [Candidate(MacSpec(rows="digits", adder="ks", bypass=way)) for way in ("lone", "upper", "both")]
    fused = [Candidate(MacSpec(rows=rows, adder="ks", stage="fused"), period=1.2) for rows in ("digits", "boothw")]
    added = [
        Candidate(MacSpec(rows="digits", adder="ks", stage="mac", accumulator="ks", bypass=way), period=1.2)
        for way in ("none", "lone")
    ]
    saved = [
        Candidate(MacSpec(rows="digits", adder="ks", stage="save", bypass=way))
        for way in ("none", "lone", "upper", "both")
    ]
    piped = [
        Candidate(MacSpec(rows="digits", adder="ks", stage="pipe", accumulator="ks", bypass=way))
        for way in ("none", "lone")
    ]
    return plain + paper + bypass + fused + added + piped + saved


def snr_db(words: np.ndarray, weights: np.ndarray) -> float:
    """Signal over squared error in dB, nearest word, at the best of 400 scales (either sign)."""
    best = -np.inf
    for turned in (words, -words[::-1]):
        for largest in np.geomspace(0.5, 30.0, 400):
            grid = turned * (largest / np.abs(words).max())
            at = np.searchsorted((grid[1:] + grid[:-1]) / 2, weights)
            best = max(best, (weights**2).mean() / ((weights - grid[at]) ** 2).mean())
    return float(10 * np.log10(best))


def measure(candidate: Candidate, name: str, folder: Path) -> dict[str, object]:
    """Delay, words, area and accuracy of one MAC in one library."""
    file, period_s = LIBRARIES[name]
    spec = candidate.spec
    _, netlist, library = synthesize_mac(
        mac_from_spec(spec),
        folder / f"{file}.lib.gz",
        period_s * candidate.period,
        keep_adders=candidate.keep,
        script=candidate.script,
    )
    around = typical_conditions(library)
    check_mac(netlist, library)
    weights = weight_values(netlist.ports)
    delay_s = static_delays(netlist, library, weights, around)
    order = np.lexsort((np.abs(weights.astype(int)), delay_s))
    label = f"{name}-{spec.name}-{'fa' if candidate.keep else 'abc'}"
    int4 = np.isin(weights, 16 * np.arange(-8, 8))
    row: dict[str, object] = {
        "library": name,
        "mac": label,
        "stage": spec.stage,
        "gates": len(netlist.gates),
        "area_um2": round(sum(library_cells(netlist, library)[k].area_m2 for k in netlist.gates.kind) * 1e12, 1),
        "slowest_ps": ps(delay_s.max()),
        "int4_grid_ps": ps(delay_s[int4].max()),
    }
    for count in (16, 9):
        words = np.sort(weights[order[:count]]).astype(float)
        row[f"delay_{count}_ps"] = ps(delay_s[order[count - 1]])
        row[f"own_{count}"] = round(float(delay_s.max() / delay_s[order[count - 1]]), 3)
        row[f"words_{count}"] = words.astype(int).tolist()
        row |= {f"snr_{count}_{kind}_db": round(snr_db(words, values), 2) for kind, values in WEIGHTS.items()}
    if label in shipped_profiles():
        energy = find_profile(label).energy_j[0] * 1e15
        row["energy_mean_fj"] = round(float(energy.mean()), 1)
        row |= {f"energy_{count}_fj": round(float(energy[order[:count]].mean()), 1) for count in (16, 9)}
    return row


def ps(seconds: float) -> float:
    """Return a time in picoseconds, rounded for reading."""
    return round(float(seconds) * 1e12, 1)


def summary(name: str, stage: str, rows: list[dict[str, object]]) -> dict[str, object]:
    """The frontier of one library and stage."""
    best = min(rows, key=lambda row: row["slowest_ps"])
    line: dict[str, object] = {
        "frontier": name,
        "stage": stage,
        "all_256": best["mac"],
        "all_256_ps": best["slowest_ps"],
    }
    for key in ("delay_16_ps", "delay_9_ps", "int4_grid_ps"):
        first = min(rows, key=lambda row: row[key])
        line |= {key: first[key], f"{key[:-3]}_mac": first["mac"]}
        line[f"{key[:-3]}_absolute"] = round(best["slowest_ps"] / first[key], 3)  # pyright: ignore
        line[f"{key[:-3]}_area"] = round(first["area_um2"] / best["area_um2"], 2)  # pyright: ignore
    return line


def main() -> None:
    """All MACs in all, or the named, libraries."""
    folder, *wanted = sys.argv[1:]
    grid = 16.0 * np.arange(-8, 8)
    floor = {f"int4_snr_{kind}_db": round(snr_db(grid, values), 2) for kind, values in WEIGHTS.items()}
    print(json.dumps(floor), flush=True)
    kinds = [kind for kind in STAGES if kind in wanted] or list(STAGES)
    for name in [name for name in LIBRARIES if name in wanted] or LIBRARIES:
        for kind in kinds:
            rows: list[dict[str, object]] = []
            for candidate in candidates():
                if candidate.spec.stage in STAGES[kind]:
                    rows.append(measure(candidate, name, Path(folder)))
                    print(json.dumps(rows[-1]), flush=True)
            print(json.dumps(summary(name, kind, rows)), flush=True)


if __name__ == "__main__":
    main()
