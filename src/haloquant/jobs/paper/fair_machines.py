"""The other side of the paper's comparisons: every system at the clock that its own weight values meet.

The machine is a described one, with memories, transitions and attention. The MAC is the paper's, from its figures. So a
4-bit model may stand on the upper bits of the weight port and use the clock of HALO's sixteen words.
"""

from collections.abc import Callable

from haloquant.accel.system_comparison import Comparison
from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.dvfs.classes import Classes, classes_at_clocks
from haloquant.jobs.machines.sweeps import compare_systems
from haloquant.jobs.machines.systems import QuantizedModel
from haloquant.jobs.paper.clock_mix import shares_of_bits
from haloquant.quant.codebook import gaussian_sample
from haloquant.store.paper_figures import effective_bits, read_statements
from haloquant.store.profiles import PAPER_MAC, find_profile
from haloquant.store.targets import read_systolic

MACHINE = "tpuv4i_like"
TOKENS = 2048  # of the prefill, and context of the decode step
# By figure 4: the fast words meet the clock of the text; all sixteen words meet 2.33 GHz, of which it makes 2.4.
CLOCKS_HZ = (read_statements()["fast-clock"].value * 1e9, 2.33e9)


def paper_classes() -> Classes:
    """Return the paper's classes: its words by clock, on its MAC."""
    fast, slow = CLOCKS_HZ
    sizes = (("fast", 9, fast), ("slow", 16, slow))
    return classes_at_clocks(find_profile(PAPER_MAC), 0, gaussian_sample(8), sizes)


def paper_model(name: str) -> QuantizedModel:
    """Return a named shape with the paper's classes and the shares of its bal variant."""
    fast = shares_of_bits(effective_bits("bal", 128)[name]).fast
    return QuantizedModel(name, named_shape(name), paper_classes(), None, fast)


def fair_comparisons(
    phase: str, progress: Callable[[int, int], None] | None = None
) -> dict[tuple[str, str], Comparison]:
    """Return HALO against each rival on the described machine, by (rival, model), for the models of table 2.

    Args:
        phase: prefill or decode.
        progress: Called with the number of models done and the number of all.
    """
    machine, models = read_systolic(MACHINE), list(effective_bits("bal", 128))
    found: dict[tuple[str, str], Comparison] = {}
    for done, name in enumerate(models):
        model = paper_model(name)
        workload = (prefill if phase == "prefill" else decode)(model.shape, TOKENS)
        for row in compare_systems(model, workload, machine):
            found[row.rival.split()[0].lower(), name] = row
        if progress:
            progress(done + 1, len(models))
    return found
