"""The code of a job is part of the key of its steps: any change of it, and all modules that make a result."""

import grimp

from haloquant.jobs.provenance import RESULT_CODE, step_versions, versions
from haloquant.source_code import source_sha256

MAKERS = ("compare.method_tasks", "compare.job", "exploration", "quantize.job", "quantize.shared_storage")
# They draw, start synthesis or describe circuits; what a step keeps of these is in its inputs (the profile's hash).
# Old names compute nothing.
ELSEWHERE = (
    "haloquant.report",
    "haloquant.circuits",
    "haloquant.eda",
    "haloquant.version",
    "haloquant.deprecated_names",
)


def test_the_hash_covers_every_module_that_makes_a_step() -> None:
    graph = grimp.build_graph("haloquant", cache_dir=None)
    makers = [f"haloquant.jobs.{name}" for name in MAKERS]
    used = set(makers).union(*(graph.find_upstream_modules(maker) for maker in makers))
    covered = tuple(f"haloquant.{part.removesuffix('.py')}" for part in RESULT_CODE)
    inside = {name for name in used if any(name == part or name.startswith(f"{part}.") for part in covered)}
    outside = {name for name in used - inside if not name.startswith(ELSEWHERE)}
    assert outside - {"haloquant"} == set()
    assert "haloquant.quant.rounding.refinement" in inside  # the graph follows imports inside functions too


def test_step_versions_hold_the_code_beside_all_versions() -> None:
    assert step_versions() == {**versions(), "code sha256": source_sha256(RESULT_CODE)}
    assert {"haloquant", "numpy", "python", "machine"} <= versions().keys()
