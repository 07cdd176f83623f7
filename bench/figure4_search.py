"""Search generated MACs for the picture of the paper's figure 4. Usage: python bench/figure4_search.py LIBERTY... OUT

The picture: the eight multiples of 32 are 1.95 times as fast as the slowest value, the other multiples of 16 1.22
times, all others within 1.12. A trial is rows, tree, adder and stage of a unit, a cell library, a script of ABC and its
period. It is drawn at random for a third of `--seconds` of processor time, and then in one or two parts around the best
so far. `jobs.paper.mac_claims.Picture.score` scores its static delays and those that activation transitions toggle, by
a sample of `--lanes` transitions; a unit that adds a partial sum gets drawn ones. Every trial is a JSON line in OUT,
and trials that OUT holds are not repeated. At the end the best are simulated over all transitions.
"""

import argparse
import json
import random
import resource
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from haloquant.circuits.characterization import mac_stimuli, typical_conditions
from haloquant.circuits.ports import weight_values
from haloquant.circuits.rtl.carry_adders import BLOCKS, PLAIN
from haloquant.circuits.rtl.generator import MacSpec
from haloquant.circuits.simulation.stimuli import Stimuli
from haloquant.circuits.simulation.value_table import simulate_values
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.errors import HaloquantError
from haloquant.jobs.mac.catalogue import mac_from_spec
from haloquant.jobs.mac.profile_building import partial_sums_for, synthesize_mac
from haloquant.jobs.paper.mac_claims import Picture, picture
from haloquant.records import Corner, MacProfile

ROWS = ("boothw", "bootha", "boothm", "digits", "bw", "sx", "sm", "mag", "native")
STAGES = ("mul", "mul", "mac", "fused")  # half of the trials are multipliers alone
SCRIPTS = ("keep", "keep", "balance", "depth", "nf", "sharing", "speedup")
PERIODS_S = (1e-10, 3e-10, 1e-9)  # of mapping: an aim that cannot be reached, and two that some units reach
BEST = 8  # trials that the search goes on from
Trial = tuple[str, str, str, str, str, str, float]  # rows, tree, adder, stage, library file, script, period


def specification(trial: Trial) -> MacSpec:
    """Return the unit of a trial; its accumulator has the adder of the product."""
    rows, tree, adder, stage = trial[:4]
    plain = {"tree": "dadda", "adder": "bk"} if rows == "native" else {"tree": tree, "adder": adder}
    return MacSpec(rows, stage=stage, accumulator=adder if stage == "mac" else "bk", **plain)  # type: ignore[arg-type]


def sampled(stimuli: Stimuli, lanes: int) -> Stimuli:
    """Return some lanes of the stimuli; 0 returns all."""
    count = stimuli.transition.size
    if not 0 < lanes < count:
        return stimuli
    at = np.sort(np.random.default_rng(0).choice(count, lanes, replace=False))
    parts = {"transition": stimuli.transition[at], "probability": np.full((1, lanes), 1 / lanes)}
    if stimuli.partial_before is not None and stimuli.partial_after is not None:
        parts |= {"partial_before": stimuli.partial_before[at], "partial_after": stimuli.partial_after[at]}
    return replace(stimuli, **parts)  # type: ignore[arg-type]


def pictures(trial: Trial, lanes: int) -> list[Picture]:
    """Return how a trial looks by static and by sensitised delay."""
    spec, (library_file, script, period_s) = specification(trial), trial[4:]
    _, net, library = synthesize_mac(
        mac_from_spec(spec), Path(library_file), period_s, keep_adders=script == "keep", script=script
    )
    weights, around = weight_values(net.ports), typical_conditions(library)
    static = static_delays(net, library, weights, around)
    stimuli = sampled(mac_stimuli(net.ports, partial_sums_for(net.ports, "demo")[0]), lanes)
    toggled = simulate_values(net, library, weights, stimuli, around).delay_s
    profile = MacProfile(
        spec.name, spec.description, weights, (Corner("any", 1.0, 25.0, library.name),), static[None],
        np.minimum(toggled, static)[None], np.zeros((1, weights.size)), np.zeros(1), 0.0, 8, {},
    )  # fmt: skip
    return [made for basis in ("static", "sensitised") if (made := picture(profile, basis))]


def spent_s() -> float:
    """Return the processor time of this process and of the tools that it started."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def trials(libraries: list[str], best: list[Trial], seconds: float, seed: int) -> Iterator[Trial]:
    """Yield trials at random, then those that differ from one of the best in one or two parts."""
    rng = random.Random(seed)
    axes = (ROWS, ("array", "dadda"), (*PLAIN, *BLOCKS), STAGES, libraries, SCRIPTS, PERIODS_S)
    while True:
        drawn = [rng.choice(axis) for axis in axes]
        if best and spent_s() > seconds / 3:
            near = list(rng.choice(best[:BEST]))
            for changed in rng.sample(range(len(axes)), rng.choice((1, 2))):
                near[changed] = drawn[changed]
            drawn = near
        yield tuple(drawn)  # type: ignore[misc]


def main() -> None:
    """Search, then simulate and print the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("libraries", nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--lanes", type=int, default=512)
    parser.add_argument("--simulated", type=int, default=2, help="how many of the best are simulated over all lanes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    rows.sort(key=lambda row: -row["score"])
    done = {tuple(row["trial"]) for row in rows}
    best: list[Trial] = list(dict.fromkeys(tuple(row["trial"]) for row in rows))
    for trial in trials(args.libraries, best, args.seconds, args.seed):
        if spent_s() > args.seconds:
            break
        if trial in done:
            continue
        done.add(trial)
        try:
            found = pictures(trial, args.lanes)
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
    for trial in best[: args.simulated]:
        for made in pictures(trial, 0):
            print(json.dumps({"trial": trial, **asdict(made), "score": made.score}), flush=True)


if __name__ == "__main__":
    main()
