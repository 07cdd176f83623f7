"""The hash of all that a packed model depends on. It keys a model that waits for its upload."""

from haloquant.jobs.provenance import step_versions
from haloquant.jobs.quantize.request import Request, passes_key
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.lm.export.model_folder import hash_small_files
from haloquant.store.atomic_files import content_key


def model_key(model_sha256: str, checkpoint: Checkpoint, request: Request) -> str:
    """Return the hash of everything that the packed model of a request depends on.

    Args:
        model_sha256: the checkpoint's `content_hash`.
        checkpoint: the checkpoint.
        request: the settings.
    """
    layers = passes_key(model_sha256, checkpoint, request)
    quantize = request.recipe.quantize
    inputs = [quantize.input_sparsity, quantize.input_allocation] if quantize.input_sparsity else []
    if quantize.activations == "mixed":
        inputs += [quantize.activation_bits, quantize.low_bits, quantize.low_share]
    asked = [request.goal, request.source, *inputs]
    return content_key(step_versions(), layers, hash_small_files(checkpoint.folder), asked)
