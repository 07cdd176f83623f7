"""What energy in the choice of words and of classes saves and costs. Usage: python bench/cost_ablation.py OUT [PROFILE]

The variant bal of the demo model (`--model` names another) is made with every setting, evaluated, and simulated on
each machine in both phases. Prints one JSON line for each: perplexity, share of fast tiles, and time, energy and the
multipliers' energy over those of the first setting, which is the default. Steps are kept in OUT.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_steps import finish_methods, halo_method
from haloquant.jobs.compare.result_rows import fast_fraction
from haloquant.jobs.inputs import read_inputs, silent
from haloquant.jobs.machines.method_cost import best_pass, class_points, recipe_shape, recipe_workloads
from haloquant.recipe import Hardware, Model, Quantize, Recipe
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_systolic

TARGETS = ("edge_lpddr5x", "tpuv4i_like")
SETTINGS = (
    Quantize(),
    Quantize(cost="energy"),
    Quantize(cost="edp"),
    Quantize(energy_weight=0.02),
    Quantize(energy_weight=0.1),
    Quantize(energy_weight=0.1, cost="energy"),
)


def rows(model: str, profile: str, settings: Quantize, out: Path) -> Iterator[dict[str, object]]:
    """Yield the variant bal of one setting on each machine in both phases."""
    recipe = Recipe(model=Model(path=model), hardware=Hardware(profile=profile, targets=TARGETS), quantize=settings)
    inputs = read_inputs(recipe)
    job = JobSteps(recipe, inputs, find_profile(profile), out, silent)
    method = finish_methods(job, {"bal": halo_method(job, "halo-bal", job.allocator.goal_maps("bal"))})["bal"]
    for name in TARGETS:
        target = read_systolic(name)
        for workload in recipe_workloads(recipe_shape(recipe, inputs.checkpoint, inputs.name), recipe):
            points = class_points(target, job.classes)
            total = best_pass(workload, method.tiles, points, target, job.classes, "bal").simulation.total
            yield {
                "target": name,
                "phase": workload.phase,
                "perplexity": method.accuracy.final_perplexity,
                "fast": fast_fraction(method.tiles),
                "clocks": [job.classes.clock_ratio(index) for index in (0, 1)],
                "time": total.total_time_s,
                "energy": total.total_energy_j,
                "mac_energy": total.energy_j["mac"],
            }


def main() -> None:
    """Print a line for each setting, machine and phase."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("profile", nargs="?", default="default")
    parser.add_argument("--model", default="demo")
    args = parser.parse_args()
    first: dict[tuple[object, object], dict[str, object]] = {}
    for settings in SETTINGS:
        for row in rows(args.model, args.profile, settings, args.out):
            base = first.setdefault((row["target"], row["phase"]), dict(row))
            ratios = {name: row[name] / base[name] for name in ("time", "energy", "mac_energy")}  # type: ignore[operator]
            asked = {"cost": settings.cost, "energy_weight": settings.energy_weight}
            print(json.dumps({"profile": args.profile, **asked, **row, **ratios}), flush=True)


if __name__ == "__main__":
    main()
