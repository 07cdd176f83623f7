"""What it costs to send a packed model to devices."""

from pathlib import Path

from haloquant.api.arguments import check_count, check_range, path_text
from haloquant.api.progress import Progress, reporting
from haloquant.jobs.model_transfer import Transfer, measure_transfer


def transfer(
    model: str | Path,
    *,
    base: str | Path | None = None,
    mbit_s: float = 20.0,
    clients: int = 1,
    progress: Progress = True,
) -> Transfer:
    """Measure the bytes of a packed model over a link, compressed and as a difference from a base, and the time.

    Args:
        model: Packed model folder.
        base: Packed model folder that the receivers have already, with the same layers, tile sizes and numbers of
            words; None for none.
        mbit_s: Rate of the link in 10^6 bits per second.
        clients: Number of receivers, which share the link.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        The bytes of every part (classes, codes, scales, sparse part, other tensors, configuration) as stored, by
        entropy, compressed, and as a difference from the base; and the seconds of each way.

    Raises:
        InputError: An argument is not allowed, or the base has another structure.
        FormatError: A folder holds no packed model, or is damaged. (An InputError.)

    Example:
        ```python
        import haloquant

        found = haloquant.transfer("model-halo", base="model-halo-old", mbit_s=20, clients=20)
        for part in found.parts:
            print(part.part, part.stored_b, part.compressed_b, part.changed_b)
        print(found.seconds)
        ```
    """
    shown, path = reporting(progress), Path(path_text("model", model))
    known = None if base is None else Path(path_text("base", base))
    check_range("mbit_s", mbit_s, 1e-6, 1e9)
    check_count("clients", clients, 1)
    with shown as report:
        return measure_transfer(path, known, mbit_s * 1e6, clients, lambda done, total: report("parts", done, total))
