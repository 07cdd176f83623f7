"""Gather all rows of the report on the paper."""

from collections.abc import Callable
from pathlib import Path

from haloquant.jobs.inputs import silent
from haloquant.jobs.paper.accuracy_claims import table_rows
from haloquant.jobs.paper.energy_claims import energy_rows
from haloquant.jobs.paper.fair_machines import MACHINE, TOKENS, fair_comparisons
from haloquant.jobs.paper.judged_model import JudgedModel
from haloquant.jobs.paper.mac_claims import mac_rows
from haloquant.jobs.paper.method_claims import inferences, method_rows
from haloquant.jobs.paper.speed_claims import speed_rows
from haloquant.report.paper.rows import REPORT_VERSION, ClaimRow, PaperReport

NOTES = (
    "The paper: HALO, AAAI-26, article 39406 (arXiv 2502.19662). Bars were measured from its printed "
    "figures, about 1 %.",
    "follows from its clocks: the number is the paper's own arithmetic, repeated with its published effective bits, "
    "clocks, supplies and powers. It shows no machine and no model.",
    "consistent: two numbers of the paper agree. not judged: the paper leaves out what would be "
    "needed, or its number is not among the data of this package.",
    f"fair machines: a prefill of {TOKENS} tokens on {MACHINE} with the paper's MAC. Memories, transitions and "
    "attention are charged, and each rival runs at the clock that its own weight values meet: W4A8 on the upper "
    "bits of the weight port has HALO's sixteen words, W3A8 its fast words.",
    "A dash under fair machines: figures 3 to 5 and the perplexities of table 2 are of a MAC and of a model, not of a "
    "machine. Figures 12 and 13: a graphics processor has one clock for its cores, and none clocks tiles one by one. "
    "Figure 11: tiles of 64 and 32 were not simulated on the fair machine, whose arrays are 128 x 128. perf-opt and "
    "acc-opt: only bal was simulated there, of the four models whose bits are printed. The method and the time of an "
    "inference are simulated on the paper's machine.",
    "Energies of the paper's MAC are relative, because its figure names no clock. So the multipliers' part of the "
    "energy on the fair machine is too small.",
    "No number of figures 1, 2 and 14 was taken down, so they have no row.",
)
UNREAD = ("table 1", "figure 6", "figure 7")  # no number of them is among the paper's data of this package


def paper_report(progress: Callable[[str, int, int], None] = silent, judged: JudgedModel | None = None) -> PaperReport:
    """Return the report from shapes and shipped data, and with a model its rows of table 2.

    Args:
        progress: Called with the name of a step, its parts done and its parts in all.
        judged: The model; None leaves these rows out.

    Raises:
        HaloquantError: The model or the text is missing or malformed.
    """

    def tell(done: int, total: int) -> None:
        progress("fair machines", done, total)

    of_model: list[ClaimRow] = []
    if judged is not None:  # first, as the model may be missing or malformed
        from haloquant.jobs.paper.model_rows import model_rows  # these need torch
        from haloquant.jobs.paper.model_table import model_table

        of_model = model_rows(Path(judged.model).name, model_table(judged, progress))
    found = fair_comparisons("prefill", tell)
    times = {key: row.speedup for key, row in found.items()}
    energies = {key: row.energy_ratio for key, row in found.items()}
    rows: list[ClaimRow] = [
        *mac_rows(),
        *speed_rows(times),
        *energy_rows(energies),
        *method_rows(inferences()),
        *table_rows(),
        *unread_rows(),
        *of_model,
    ]
    return PaperReport(REPORT_VERSION, rows, list(NOTES))


def unread_rows() -> list[ClaimRow]:
    """Return a row for each place whose numbers were not taken down, so that no reader takes its absence for a pass."""
    why = (
        "when the paper was read, its content and its numbers were not taken down: the data hold figures 3 to 5 and 8 "
        "to 13, table 2 and numbers of the text. So nothing here names, confirms or refutes what it shows"
    )
    return [ClaimRow(place, f"what {place} shows", "ratio", None, None, None, "not judged", why) for place in UNREAD]
