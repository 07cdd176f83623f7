"""The HALO paper, claim by claim: its numbers, ours under its premises and on fair machines, and verdicts."""

from pathlib import Path
from tempfile import TemporaryDirectory

from haloquant.api.arguments import path_text
from haloquant.api.progress import Progress, reporting
from haloquant.jobs.paper.report import Judged, paper_report
from haloquant.jobs.recipe_checks import DRAWING_PACKAGES, MODEL_PACKAGES, require_packages
from haloquant.report.paper.markdown import render_paper_markdown
from haloquant.report.paper.rows import PaperReport, encode_report
from haloquant.store.atomic_files import claim_output, write_bytes, write_text


def check_paper(
    out: str | Path | None = None,
    *,
    model: str | Path | None = None,
    text: str | Path = "demo",
    progress: Progress = True,
) -> PaperReport:
    """Compare every claim of the HALO paper with this package, from shapes and shipped data.

    Args:
        out: Folder for `paper.html`, `paper.json` and `paper.md`: empty, missing, or one that haloquant made. None
            writes nothing.
        model: Folder of a model in Hugging Face format, or "demo", for the rows of table 2: it is quantized by the
            paper's method and its rivals, and evaluated. This takes minutes. None leaves these rows out.
        text: Evaluation text for the model, or "demo".
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        One row per claim, each with its verdict and the reason.

    Raises:
        InputError: `out` holds files that haloquant did not make.
        CheckpointError: The model folder is absent, incomplete or damaged.
        MissingExtraError: `out` is given and the drawing packages are not installed, or a model and torch is not.

    Example:
        ```python
        from haloquant.api import check_paper

        for row in check_paper().rows:
            print(row.place, row.claim, row.paper, row.ours, row.fair, row.verdict)
        ```
    """
    folder = None if out is None else Path(path_text("out", out))
    if folder is not None:
        require_packages(DRAWING_PACKAGES, "the page of the paper", "report")
        claim_output(folder)
    with reporting(progress) as tell, TemporaryDirectory() as scratch:
        judged = None
        if model is not None:
            require_packages(MODEL_PACKAGES, "table 2 on a model", "lm")
            place = Path(scratch) if folder is None else folder
            judged = Judged(path_text("model", model), path_text("text", text), place)
        report = paper_report(tell, judged)
    if folder is not None:
        from haloquant.report.paper.page import render_paper_page  # imports the drawing packages

        write_text(folder / "paper.html", render_paper_page(report))
        write_bytes(folder / "paper.json", encode_report(report))
        write_text(folder / "paper.md", render_paper_markdown(report))
    return report
