"""Gather all rows of the report on the paper."""

from collections.abc import Callable

from haloquant.jobs.paper.accuracy_claims import table_rows
from haloquant.jobs.paper.energy_claims import energy_rows
from haloquant.jobs.paper.fair_machines import MACHINE, TOKENS, fair_comparisons
from haloquant.jobs.paper.mac_claims import mac_rows
from haloquant.jobs.paper.method_claims import inferences, method_rows
from haloquant.jobs.paper.speed_claims import speed_rows
from haloquant.report.paper.rows import REPORT_VERSION, ClaimRow, PaperReport

NOTES = (
    "The paper: HALO, AAAI-26, article 39406 (arXiv 2502.19662). Bars were measured from its printed "
    "figures, about 1 %.",
    "follows from its clocks: the number is the paper's own arithmetic, repeated with its published effective bits, "
    "clocks, supplies and powers. It shows no machine and no model.",
    "consistent: two numbers of the paper agree. not judged: the paper leaves out what would be needed.",
    f"fair machines: a prefill of {TOKENS} tokens on {MACHINE} with the paper's MAC. Memories, transitions and "
    "attention are charged, and each rival runs at the clock that its own weight values meet: W4A8 on the upper "
    "bits of the weight port has HALO's sixteen words, W3A8 its fast words.",
    "Energies of the paper's MAC are relative, because its figure names no clock. So the multipliers' part of the "
    "energy on the fair machine is too small.",
    "No number of table 1 and of figures 1, 2, 6, 7 and 14 was taken down, so they have no row. Figure 9 (perplexity "
    "over speed, bal at the knee) needs a model's weights.",
)


def paper_report(progress: Callable[[str, int, int], None] | None = None) -> PaperReport:
    """Return the report from shapes and shipped data.

    Args:
        progress: Called with the name of a step, its parts done and its parts in all.
    """

    def tell(done: int, total: int) -> None:
        if progress:
            progress("fair machines", done, total)

    found = fair_comparisons("prefill", tell)
    times = {key: row.speedup for key, row in found.items()}
    energies = {key: row.energy_ratio for key, row in found.items()}
    rows: list[ClaimRow] = [
        *mac_rows(),
        *speed_rows(times),
        *energy_rows(energies),
        *method_rows(inferences()),
        *table_rows(),
    ]
    return PaperReport(REPORT_VERSION, rows, list(NOTES))
