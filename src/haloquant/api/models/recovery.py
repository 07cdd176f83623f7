"""Train scales and offsets of a packed model towards its full-precision model."""

from pathlib import Path
from typing import get_args

from haloquant.api.arguments import check_choice, check_count, check_range, path_text
from haloquant.api.progress import Progress, reporting
from haloquant.errors import InputError
from haloquant.jobs.evaluation import Dtype
from haloquant.jobs.recovery import Recovery, recover_model
from haloquant.lm.devices import find_device
from haloquant.lm.recovery import Training
from haloquant.records import Trained


def recover(
    model: str | Path,
    out: str | Path,
    *,
    teacher: str | Path,
    text: str | Path = "demo",
    train: Trained = "scales",
    steps: int = 100,
    learning_rate: float = 3e-3,
    batch: int = 1,
    seed: int = 0,
    judge: str | Path | None = None,
    judge_tokens: int = 0,
    dtype: Dtype = "float32",
    device: str = "auto",
    progress: Progress = True,
) -> Recovery:
    """Train scales, offsets or both of a packed model on its divergence from the full-precision model.

    Codes, tile classes and the sparse part stay byte for byte as they are, and with them the clocks. Scales cost no
    further bits. An offset is added to all weights of an (output channel, tile): 16 bits for each, and one more product
    of a token. Some windows of the text are held out of training; the values that are best there are written, in
    float16.
    Both models must fit in memory together. A training that is stopped begins again; a folder is written whole or not
    at all.

    Args:
        model: Packed model folder.
        out: Folder to write. It must be empty or not exist yet.
        teacher: The full-precision model that was packed: a folder, or "demo".
        text: Training text (.txt, .xz), or "demo" for the shipped calibration text. Text of the model's own domain does
            best.
        train: "scales", "offsets" or "both".
        steps: Number of steps of training; 0 writes the model as it is.
        learning_rate: Relative change of a scale in one of the first steps; for an offset, in units of the tile's
            weights (root mean square). It falls to zero along a cosine.
        batch: Windows of text per step.
        seed: Seed of the order of the windows.
        judge: Text (.txt, .xz, or "demo" for the shipped evaluation text) on which the loss is measured before and
            after; None measures none.
        judge_tokens: Number of its tokens to use, rounded down to whole windows (one at least); 0 uses the whole text.
        dtype: Floating-point type in which both models compute: "float32", "bfloat16" or "float16". Scales and offsets
            are trained in float32.
        device: As in `evaluate`.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        The divergence before and after on the held-out windows, and the losses on the judging text.

    Raises:
        InputError: An argument is not allowed, the model is not packed, the teacher is packed or has another
            vocabulary, or the text has less than two windows.
        MissingExtraError: torch or transformers is not installed.

    Example:
        ```python
        import haloquant

        done = haloquant.recover("model-halo", "model-recovered", teacher="path/to/model", text="my-text.txt")
        print(f"divergence {done.divergence_before:.4f} -> {done.divergence_after:.4f} nats")
        ```
    """
    shown = reporting(progress)
    packed, full, words = path_text("model", model), path_text("teacher", teacher), path_text("text", text)
    folder, judged_by = Path(path_text("out", out)), None if judge is None else path_text("judge", judge)
    check_count("steps", steps, 0)
    check_range("learning_rate", learning_rate, 0.0, 1.0)
    check_count("batch", batch, 1)
    check_count("seed", seed, 0)
    check_count("judge_tokens", judge_tokens, 0)
    check_choice("dtype", dtype, get_args(Dtype))
    check_choice("train", train, get_args(Trained))
    if judge_tokens and judge is None:
        raise InputError("judge_tokens must come with judge, the text that they are taken from")
    place = find_device(device)
    how = Training(steps, learning_rate, batch, seed, train)
    with shown as report:
        return recover_model(packed, full, words, folder, how, judged_by, judge_tokens, dtype, place, report)
