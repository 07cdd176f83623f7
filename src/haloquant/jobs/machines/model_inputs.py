"""The shape of whatever names a model: a named shape, a model folder, a config.json, a GGUF file, a name of the hub."""

from pathlib import Path

from haloquant.accel.workload.decoder_shape import ModelShape
from haloquant.accel.workload.model_shapes import MODELS, shape_from_config
from haloquant.errors import InputError
from haloquant.jobs.inputs import described_tensors, has_tensors, model_folder
from haloquant.jobs.machines.model_layers import shape_of_checkpoint, shape_of_config
from haloquant.lm.checkpoint import model_config
from haloquant.lm.checkpoint.hub import origin
from haloquant.lm.checkpoint.reader import open_checkpoint


def read_shape(name: str) -> ModelShape:
    """Return the shape of a model whose weights need not be quantized; they are not read.

    Args:
        name: `demo`, a folder in Hugging Face format, a GGUF file, a name in the hub's cache, or a config.json.

    Raises:
        InputError: It is none of these, it cannot be opened, or the machine model cannot run it.
    """
    path = Path(name).expanduser()
    if has_tensors(name):
        folder = model_folder(name)
        return shape_of_checkpoint(open_checkpoint(folder), _called(name, folder))
    if path.is_file():
        return _shape_of_file(path)
    raise InputError(
        f"model shape must be one of {', '.join(MODELS)}, or the model a folder (packed or in Hugging Face format), a "
        f"GGUF file, a config.json or a name in the hub's cache, not {name!r:.80}"
    )


def _called(name: str, folder: Path) -> str:
    if name == "demo":
        return "demo model"
    return origin(folder) or Path(name).expanduser().resolve().name


def _shape_of_file(path: Path) -> ModelShape:
    """Return the shape that a config.json describes; without transformers only of families that this package knows."""
    config = model_config.read_config(path)
    tensors = described_tensors(path, config, "simulating")
    if tensors is None:
        return shape_from_config(config, path.parent.resolve().name)
    return shape_of_config(path, config, tensors)
