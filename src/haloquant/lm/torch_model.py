"""Load a causal language model from a local folder of safetensors into memory."""

from pathlib import Path
from typing import Any

from haloquant.errors import CheckpointError, MissingExtraError
from haloquant.lm.checkpoint.completeness import COMPUTED_TENSORS, check_names
from haloquant.lm.checkpoint.model_files import INDEX, WEIGHTS
from haloquant.lm.checkpoint.reader import Checkpoint, open_checkpoint, read_tensor
from haloquant.lm.checkpoint.safetensors import StoredTensor

try:
    import torch
    from transformers import AutoConfig
    from transformers.models.auto.auto_factory import _get_model_class
except ImportError as error:  # pragma: no cover - depends on the installation
    raise MissingExtraError("running a model needs torch and transformers: pip install 'haloquant[lm]'") from error

from haloquant.lm.experts import unstack_checkpoint
from haloquant.lm.model_check import check_model
from haloquant.lm.model_class import building, class_of, leave_weights, model_class
from haloquant.lm.quiet_transformers import quiet_transformers


def load_model(folder: Path | str, dtype: "torch.dtype | None" = None) -> Any:
    """Return the causal language model in `folder`, in evaluation mode and without gradients.

    Nothing is downloaded, no code of the model folder is run and no pickle is opened. A checkpoint that lacks a weight
    is refused; transformers alone would fill that weight with random numbers.

    Args:
        folder: a model folder, or a GGUF file.
        dtype: type of the weights; float32 where None.

    Raises:
        CheckpointError: As `open_checkpoint`; or the model class is unknown to transformers; or weights are missing.
    """
    checkpoint = open_checkpoint(folder)
    check_names(checkpoint)
    dtype = torch.float32 if dtype is None else dtype
    plain = all(type(tensor) is StoredTensor for tensor in checkpoint.tensors.values())
    plain = plain and any((checkpoint.folder / name).is_file() for name in (WEIGHTS, INDEX))
    try:
        with building(checkpoint.folder, checkpoint.folder), quiet_transformers():
            loaded = _from_files(checkpoint.folder, dtype) if plain else _from_tensors(checkpoint, dtype)
    except CheckpointError:
        check_model(checkpoint)  # it names the tensor, where transformers points to a report
        raise
    model, info = loaded
    missing = sorted(key for key in info["missing_keys"] if not key.endswith(COMPUTED_TENSORS))
    if missing:
        raise CheckpointError(
            f"{checkpoint.folder} must hold every weight of its model, but lacks {len(missing)}, first {missing[0]}"
        )
    if info.get("mismatched_keys"):
        name = sorted(str(key[0]) for key in info["mismatched_keys"])[0]
        raise CheckpointError(f"{checkpoint.folder} must hold weights of the configured shapes, but {name} differs")
    model.eval().requires_grad_(False)
    leave_weights(model.config)
    unstack_checkpoint(model, (*checkpoint.layers, *checkpoint.unchosen))
    return model


def _from_files(folder: Path, dtype: "torch.dtype") -> Any:
    """Load as transformers does, from safetensors."""
    return model_class(folder).from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )


def _from_tensors(checkpoint: Checkpoint, dtype: "torch.dtype") -> Any:
    """Load the tensors as this package reads them, for files that transformers would not read in the same way."""
    config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
    tensors = {name: torch.from_numpy(read_tensor(checkpoint, name)).to(dtype) for name in checkpoint.tensors}
    kind: Any = _get_model_class(config, class_of(config)._model_mapping)
    return kind.from_pretrained(None, config=config, state_dict=tensors, dtype=dtype, output_loading_info=True)
