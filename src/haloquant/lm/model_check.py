"""Check before any work that transformers can load a checkpoint, and that its layers are linear layers of the model."""

from pathlib import Path

import torch
from transformers import CONFIG_MAPPING, AutoConfig
from transformers.core_model_loading import revert_weight_conversion

from haloquant.errors import CheckpointError, InputError
from haloquant.lm.attention.watch import check_watchable
from haloquant.lm.calibration.empty_model import EmptyModel, empty_from_config
from haloquant.lm.checkpoint.completeness import COMPUTED_TENSORS
from haloquant.lm.checkpoint.linear_layers import expert_family
from haloquant.lm.checkpoint.model_config import read_config
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.lm.model_class import building, complete_head_size
from haloquant.lm.swap_weights import find_module, is_linear


def check_model(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that transformers cannot load, or whose chosen layers are no linear layers of its model.

    No weight is read.

    Args:
        checkpoint: An opened model folder.

    Raises:
        CheckpointError: Transformers has no such decoder, a parameter is missing or of another shape, or a layer
            is of another kind.
    """
    empty = EmptyModel(checkpoint)
    lacking = [name for name in empty.lacking() if not name.endswith(COMPUTED_TENSORS)]
    if lacking:
        raise CheckpointError(
            f"{checkpoint.folder} must hold every weight of its model, but lacks {len(lacking)}, first {min(lacking)}"
        )
    empty.check_shapes()
    for layer in checkpoint.layers:
        advice = f"leave it in full precision (--exclude '{_pattern(layer.name)}')"
        try:
            module = find_module(empty.model, layer.name)
        except CheckpointError as error:
            changed = empty.changed_by(layer)
            made = f"makes other matrices of it while it loads ({changed})" if changed else "has none there"
            raise CheckpointError(
                f"{layer.name} must be a linear layer of the model as transformers builds it "
                f"({type(empty.model).__name__}), but transformers {made}; {advice}"
            ) from error
        if not is_linear(module):
            raise CheckpointError(
                f"{layer.name} must be a linear layer of the model, not {type(module).__name__}; {advice}"
            )


def check_scored(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose tokens cannot be scored by attention. No weight is read.

    Raises:
        InputError: The model's attentions cannot be seen (`lm.attention.watch.check_watchable`), or it has experts,
            which get the tokens in another order.
        CheckpointError: Transformers has no such decoder.
    """
    expert = next((layer.name for layer in checkpoint.layers if expert_family(layer.name) is not None), None)
    if expert is not None:
        raise InputError(f"the model must have no experts to have tokens scored, and {expert} is one's")
    check_watchable(EmptyModel(checkpoint).model)


def is_known(checkpoint: Checkpoint) -> bool:
    """Return whether transformers has a model of the checkpoint's type."""
    kind = read_config(checkpoint.small_files()).get("model_type")
    return isinstance(kind, str) and kind in CONFIG_MAPPING


def tensor_shapes(config_file: Path) -> dict[str, tuple[int, ...]]:
    """Return the name and the shape of every tensor that a checkpoint with this config.json would have.

    Raises:
        CheckpointError: Transformers has no such decoder.
    """
    with building(config_file, config_file):
        config = AutoConfig.from_pretrained(config_file, local_files_only=True, trust_remote_code=False)
        complete_head_size(config)
        model = empty_from_config(config)
        with torch.device("meta"):
            state = {name: torch.empty(tuple(value.shape)) for name, value in model.state_dict().items()}
        tied = set(model.all_tied_weights_keys)
        saved = revert_weight_conversion(model, {name: value for name, value in state.items() if name not in tied})
    return {name: tuple(value.shape) for name, value in saved.items()}


def _pattern(name: str) -> str:
    """Return a regular expression for the layers of this kind in all blocks."""
    return r"\.".join(r"\d+" if part.isdigit() else part for part in name.split(".")) + "$"
