"""The whole job in five lines: quantize, schedule, simulate, evaluate, pack, report.

Usage: python examples/whole_job.py [RECIPE] [OUT]
"""

import sys
from pathlib import Path

from haloquant.jobs.compare.job import run
from haloquant.recipe import Recipe, read_recipe

recipe = read_recipe(Path(sys.argv[1])) if len(sys.argv) > 1 else Recipe()
job = run(recipe, Path(sys.argv[2] if len(sys.argv) > 2 else "out/example"))
for method in job.results.methods:
    print(f"{method.name:14} {method.bits_per_weight:6.2f} bits  perplexity {method.perplexity:8.3f}")
print(job.folder / "report.html")
