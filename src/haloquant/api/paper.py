"""The HALO paper, claim by claim: its numbers, ours under its premises and on fair machines, and verdicts."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from haloquant.api.arguments import check_choice, check_count, path_text, path_texts
from haloquant.api.progress import Progress, reporting
from haloquant.errors import InputError
from haloquant.jobs.paper.judged_model import TOKENS, JudgedModel
from haloquant.jobs.paper.report import paper_report
from haloquant.jobs.recipe_checks import DRAWING_PACKAGES, MODEL_PACKAGES, require_packages
from haloquant.recipe import Method
from haloquant.report.paper.markdown import render_paper_markdown
from haloquant.report.paper.rows import PaperReport, encode_report
from haloquant.store.atomic_files import claim_output, write_bytes, write_text

METHODS = ("paper", "haloquant")


def check_paper(
    out: str | Path | None = None,
    *,
    model: str | Path | None = None,
    text: str | Path | Sequence[str | Path] = "demo",
    tokens: int = TOKENS,
    window: int | None = None,
    calibration_tokens: int = TOKENS,
    methods: Sequence[str] = METHODS,
    progress: Progress = True,
) -> PaperReport:
    """Compare every claim of the HALO paper with this package, from shapes and shipped data.

    Args:
        out: Folder for `paper.html`, `paper.json` and `paper.md`: empty, missing, or one that haloquant made. None
            writes nothing.
        model: Folder of a model in Hugging Face format, or "demo", for the rows of table 2: it is quantized by the
            paper's method and its rivals, and evaluated. This takes minutes. None leaves these rows out.
        text: Evaluation text for the model, or "demo"; or several, on which the same layers are evaluated.
        tokens: Tokens of each text that are evaluated, in windows of the model's length that are spread over the text;
            0 takes the whole text.
        window: Tokens of a window; None is the model's context, at most 2048.
        calibration_tokens: Tokens of the demo's calibration text that the layers are rounded with.
        methods: How HALO's rows are rounded: "paper", "haloquant", or both.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        One row per claim, each with its verdict and the reason.

    Raises:
        InputError: `out` holds files that haloquant did not make, or a setting is out of range or without a model.
        CheckpointError: The model folder is absent, incomplete or damaged.
        MissingExtraError: `out` is given and the drawing packages are not installed, or a model and torch is not.

    Example:
        ```python
        from haloquant.api import check_paper

        for row in check_paper().rows:
            print(row.place, row.claim, row.paper, row.ours, row.fair, row.verdict)
        ```
    """
    known: tuple[Method, ...] = get_args(Method)
    for name in methods:
        check_choice("methods", name, known)
    chosen: tuple[Method, ...] = tuple(name for name in known if str(name) in methods)
    if not chosen:
        raise InputError(f"methods must hold at least one of {', '.join(known)}")
    check_count("tokens", tokens, 0)
    if window is not None:
        check_count("window", window, 2)
    check_count("calibration_tokens", calibration_tokens, 1)
    given = {"text": text, "tokens": tokens, "window": window, "calibration_tokens": calibration_tokens}
    usual = {"text": "demo", "tokens": TOKENS, "window": None, "calibration_tokens": TOKENS, "methods": METHODS}
    changed = [name for name, value in (given | {"methods": tuple(methods)}).items() if value != usual[name]]
    if model is None and changed:
        raise InputError(
            f"{' and '.join(changed)} must come with a model, for the rows of table 2; without it nothing changes"
        )
    folder = None if out is None else Path(path_text("out", out))
    if folder is not None:
        require_packages(DRAWING_PACKAGES, "the page of the paper", "report")
        claim_output(folder)
    with reporting(progress) as tell, TemporaryDirectory() as scratch:
        judged = None
        if model is not None:
            require_packages(MODEL_PACKAGES, "table 2 on a model", "lm")
            place = Path(scratch) if folder is None else folder
            judged = JudgedModel(
                path_text("model", model), path_texts("text", text), place, tokens, window, calibration_tokens, chosen
            )
        report = paper_report(tell, judged)
    if folder is not None:
        from haloquant.report.paper.page import render_paper_page  # imports the drawing packages

        write_text(folder / "paper.html", render_paper_page(report))
        write_bytes(folder / "paper.json", encode_report(report))
        write_text(folder / "paper.md", render_paper_markdown(report))
    return report
