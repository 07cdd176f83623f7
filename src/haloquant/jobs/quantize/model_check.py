"""Check a model in transformers before any work, where transformers is installed."""

from importlib.util import find_spec

from haloquant.lm.checkpoint.reader import Checkpoint

UNCHECKED = (
    "the layers were found by their names and not checked in a model, as torch or transformers is not installed "
    "(pip install 'haloquant[lm]')"
)


def has_transformers() -> bool:
    """Return whether torch and transformers are installed, so that models are checked."""
    return find_spec("torch") is not None and find_spec("transformers") is not None


def check_in_transformers(checkpoint: Checkpoint, calibrated: bool) -> tuple[str, ...]:
    """Check that transformers can load a model and has the chosen layers.

    Data-free quantization needs no transformers, and checks nothing without it. It takes families that transformers
    does not know.

    Returns:
        A sentence if the model was not checked.

    Raises:
        CheckpointError: Transformers has no such decoder, a parameter is missing or of another shape, or a layer is of
            another kind.
    """
    try:
        from haloquant.lm.model_check import check_model, is_known
    except ImportError:
        return (UNCHECKED,)
    if not calibrated and not is_known(checkpoint):
        kind = checkpoint.architecture.model_type
        return (
            f"transformers does not know {kind!r}: the layers were found by their names and not checked in a model",
        )
    check_model(checkpoint)
    return ()
