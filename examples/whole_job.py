"""Everything that a recipe describes: quantize, schedule, simulate, evaluate, pack, report.

Usage: python examples/whole_job.py [RECIPE] [OUT]
"""

import sys

import haloquant

recipe = sys.argv[1] if len(sys.argv) > 1 else None
job = haloquant.run(recipe, sys.argv[2] if len(sys.argv) > 2 else "out/example")
for method in job.results.methods:
    print(f"{method.name:14} {method.bits_per_weight:6.2f} bits  perplexity {method.perplexity:8.3f}")
print(job.folder / "report.html")
