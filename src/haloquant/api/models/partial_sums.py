"""Measure the partial sums of a model, from which `characterize` draws the stimuli of a MAC."""

from pathlib import Path

from haloquant.api.arguments import path_text
from haloquant.api.progress import Progress, reporting
from haloquant.circuits.simulation.partial_sums import PartialSums
from haloquant.jobs.inputs import model_folder, text_file
from haloquant.store.partial_sums import write_partial_sums


def measure_partial_sums(
    model: str | Path,
    text: str | Path = "demo",
    *,
    out: str | Path | None = None,
    progress: Progress = True,
) -> tuple[PartialSums, ...]:
    """Measure the partial sums that a MAC receives when it computes the linear layers of a model.

    The energy of a MAC depends on the partial sums that it adds. `characterize` draws them from the demo model by
    default; with the file of this function it draws them from your own model.

    Args:
        model: Folder of a full-precision model that fits in memory, or "demo" for the shipped model.
        text: Text (.txt, .xz) that the model reads, or "demo" for the shipped calibration text.
        out: File to write, for `characterize(partial_sums=...)`; none is written if None.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        Statistics of pairs of partial sums at one token and the next, for weights of 8 and of 4 bits.

    Raises:
        InputError: There is no such model or text, or the text is shorter than one window of 256 tokens.
        MissingExtraError: torch or transformers is not installed.

    Example:
        ```python
        from haloquant.api import characterize, measure_partial_sums

        measure_partial_sums("path/to/model", "my-text.txt", out="my.partial-sums.json")
        characterize("boothwdadda_bk-mac", "cells.lib.gz", partial_sums="my.partial-sums.json")
        ```
    """
    from haloquant.lm.evaluation import partial_sums  # needs torch

    shown = reporting(progress)
    folder, file = model_folder(path_text("model", model)), text_file(path_text("text", text), "calibration")
    with shown as report:
        found = partial_sums.measure_partial_sums(
            folder, file, lambda done, total: report("measure partial sums", done, total)
        )
    sums = tuple(each.sums for each in found)
    if out is not None:
        write_partial_sums(sums, Path(path_text("out", out)))
    return sums
