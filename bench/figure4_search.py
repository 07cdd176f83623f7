"""Search generated MACs for the picture of the paper's figure 4. Usage: python bench/figure4_search.py LIBERTY... OUT

The picture: the eight multiples of 32 are 1.95 times as fast as the slowest value, the other multiples of 16 1.22
times, all others within 1.12. Each trial is a unit of the generator, a cell library, a script of ABC and its period,
drawn at random for half of `--seconds` of processor time, and then around the best so far. Its static delays are scored
by `jobs.paper.mac_claims.Picture.score`. Delays that activation transitions toggle are simulated for the best trials
alone. Every trial is a JSON line in OUT, and trials that OUT holds are not repeated.
"""

import argparse
import json
import random
import resource
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from haloquant.circuits.characterization import exhaustive_simulation, typical_conditions
from haloquant.circuits.ports import weight_values
from haloquant.circuits.rtl.generator import MacSpec
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.errors import HaloquantError
from haloquant.jobs.mac.catalogue import mac_from_spec, mac_specs
from haloquant.jobs.mac.profile_building import partial_sums_for, synthesize_mac
from haloquant.jobs.paper.mac_claims import Picture, picture
from haloquant.records import Corner, MacProfile

SCRIPTS = ("keep", "balance", "depth", "nf", "speedup")
PERIODS_S = (1e-10, 1e-9)  # of mapping: an aim that cannot be reached, and one that any unit reaches
SIMULATED = 6  # of the best trials
Trial = tuple[str, str, str, float]  # unit, library file, script, period


def candidates() -> dict[str, MacSpec]:
    """Return the 8-bit units of one clock cycle by name: multipliers alone, and those that add a partial sum."""
    return {
        name: spec
        for name, spec in mac_specs().items()
        if (spec.weight_bits, spec.bypass) == (8, "none") and spec.stage in ("mul", "mac", "fused")
    }


def pictures(trial: Trial, spec: MacSpec, simulated: bool) -> list[Picture]:
    """Return how a trial looks by static and, if it is simulated, by sensitised delay."""
    _, library_file, script, period_s = trial
    _, net, library = synthesize_mac(
        mac_from_spec(spec), Path(library_file), period_s, keep_adders=script == "keep", script=script
    )
    weights, around = weight_values(net.ports), typical_conditions(library)
    static = static_delays(net, library, weights, around)
    toggled = np.full(weights.size, np.nan)
    if simulated:
        toggled = exhaustive_simulation(net, library, around, partial_sums_for(net.ports, "demo")[0])[0]
    profile = MacProfile(
        spec.name, spec.description, weights, (Corner("any", 1.0, 25.0, library.name),), static[None],
        np.minimum(toggled, static)[None], np.zeros((1, weights.size)), np.zeros(1), 0.0, 8, {},
    )  # fmt: skip
    return [made for basis in ("static", "sensitised") if (made := picture(profile, basis))]


def spent_s() -> float:
    """Return the processor time of this process and of the tools that it started."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def trials(libraries: list[str], best: list[Trial], seconds: float) -> Iterator[Trial]:
    """Yield trials at random, then those that differ from one of the best in one part."""
    rng, names = random.Random(0), list(candidates())
    axes = (names, libraries, list(SCRIPTS), list(PERIODS_S))
    while True:
        drawn = tuple(rng.choice(axis) for axis in axes)
        if best and spent_s() > seconds / 2:
            near, changed = list(rng.choice(best[:6])), rng.randrange(4)
            near[changed] = drawn[changed]
            drawn = tuple(near)
        yield drawn  # type: ignore[misc]


def main() -> None:
    """Search, then simulate and print the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("libraries", nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {tuple(row["trial"]) for row in rows}
    best: list[Trial] = []
    specs = candidates()
    for trial in trials(args.libraries, best, args.seconds):
        if spent_s() > args.seconds:
            break
        if trial in done:
            continue
        done.add(trial)
        try:
            found = pictures(trial, specs[trial[0]], simulated=False)
        except HaloquantError as error:
            print(json.dumps({"trial": trial, "error": str(error)[:200]}), flush=True)
            continue
        new = [{"trial": trial, **asdict(made), "score": made.score} for made in found]
        rows += new
        with args.out.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in new)
        rows.sort(key=lambda row: -row["score"])
        best[:] = list(dict.fromkeys(tuple(row["trial"]) for row in rows))
    print(json.dumps({"trials": len(done)}))
    for trial in best[:SIMULATED]:
        for made in pictures(trial, specs[trial[0]], simulated=True):
            print(json.dumps({"trial": trial, **asdict(made), "score": made.score}), flush=True)


if __name__ == "__main__":
    main()
