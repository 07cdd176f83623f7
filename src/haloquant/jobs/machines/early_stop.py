"""What a bit-serial element gains by stopping at sums that a ReLU will make 0, on the inputs of a real model."""

from haloquant.errors import InputError
from haloquant.jobs.inputs import Progress, is_packed, model_folder, silent, text_file


def early_stop(model: str, text: str, progress: Progress = silent) -> tuple[float, str]:
    """Return the mean digits of a multiply-accumulate of the model's linear layers, and a sentence on the sums.

    Args:
        model: A plain model folder, or `demo`.
        text: A text, or `demo` for the shipped calibration text.
        progress: Called with the name of the task, layers done and in all.

    Raises:
        CheckpointError: There is no such model folder.
        InputError: The model is packed or has no ReLU, or the text is missing or too short.
    """
    from haloquant.lm.evaluation.negative_sums import DIGITS, measure_early_negative  # needs torch

    folder = model_folder(model)
    if is_packed(folder):
        raise InputError("a model whose sums before a ReLU are counted must be a plain folder, not packed")
    file = text_file(text, "calibration")
    found = measure_early_negative(folder, file, lambda done, total: progress("count digits", done, total))
    note = (
        f"early stop: of {found.sums:,} sums before ReLUs in {found.layers} layers {found.negative_share:.1%} are "
        f"negative; these layers take {found.digits:.2f} of {DIGITS} digits, all linear layers {found.model_digits:.2f}"
    )
    return found.model_digits, note
