"""Open the inputs that a recipe names: the model folder, and the texts as tokens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from haloquant.accel.workload.model_shapes import MODELS, named_shape, shape_from_config
from haloquant.errors import CheckpointError, InputError, MissingExtraError, RecipeError
from haloquant.jobs.quantize.forecast.model_sizes import ModelSizes, sizes_of_checkpoint, sizes_of_shape
from haloquant.lm.checkpoint.completeness import check_complete
from haloquant.lm.checkpoint.hub import is_hub_name, origin
from haloquant.lm.checkpoint.model_config import (
    VOCABULARY,
    is_quantized,
    read_config,
    text_part,
    whole_number,
    window_tokens,
)
from haloquant.lm.checkpoint.paths import GGUF, is_gguf, local_folder
from haloquant.lm.checkpoint.reader import Checkpoint, content_hash, open_checkpoint, virtual_checkpoint
from haloquant.lm.export.model_folder import list_small_files
from haloquant.lm.text import load_text, tokenize
from haloquant.recipe import Recipe
from haloquant.records.layer_names import BLOCK_LAYERS, LLAMA, OPT
from haloquant.store.atomic_files import sha256_bytes

Progress = Callable[[str, int, int], None]
# Families whose layers follow from the sizes in config.json alone.
SHAPED = frozenset(name for name, layers in BLOCK_LAYERS.items() if layers in (LLAMA, OPT))


def silent(task: str, done: int, total: int) -> None:
    """A progress function that does nothing."""


@dataclass(frozen=True)
class Text:
    """A text as the model's tokens [tokens], its name, and the SHA-256 of its characters."""

    name: str
    tokens: Int64[np.ndarray, " t"]
    sha256: str

    def key(self) -> list[str]:
        """Return what identifies the text for a model: the hashes of its characters and of its tokens.

        The tokens follow from the tokenizer, which is no part of the hash of the model.
        """
        return [self.sha256, sha256_bytes(self.tokens.astype("<i8").tobytes())]


@dataclass(frozen=True)
class Inputs:
    """The model and the texts of a job. `window` is the number of tokens in a window of the model."""

    name: str
    checkpoint: Checkpoint
    model_sha256: str
    window: int
    calibration: Text
    evaluation: Text


def package_folder() -> Path:
    """Return the folder of the package's data: the demo model and its texts, the profiles and the targets."""
    return Path(str(resources.files("haloquant"))) / "data"


def model_folder(path: str) -> Path:
    """Return the folder of the model that a recipe names; `demo` is the model that comes with the package.

    For a GGUF file it is a temporary folder with its configuration and tokenizer. For a name of the hub it is the
    folder in the hub's cache (`lm.checkpoint.paths`).

    Raises:
        CheckpointError: There is no such folder, GGUF file or cached model, or the file is damaged.
    """
    if path == "demo":
        return package_folder() / "demo" / "model"
    if not Path(path).expanduser().exists() and not is_hub_name(path):
        raise CheckpointError(
            f"the model must be `demo` or a folder in Hugging Face format or a GGUF file on this machine, not "
            f"{path!r}; nothing is downloaded"
        )
    return local_folder(path)


def read_inputs(recipe: Recipe) -> Inputs:
    """Open the model and the texts that a recipe names, so that errors are found before any work.

    Raises:
        CheckpointError: The model folder is missing or malformed, or a part of the model is missing; or the tokenizer
            gives tokens beyond the model's vocabulary.
        RecipeError: A text is missing, or the calibration is "none".
    """
    if recipe.text.calibration == "none":
        raise RecipeError(
            "text.calibration must be `demo` or a .txt or .xz file, not none, because a job's rivals need a text; "
            "`haloquant quantize --calibration none` makes a model without"
        )
    folder = model_folder(recipe.model.path)
    checkpoint = open_checkpoint(folder, exclude=recipe.model.exclude)
    check_complete(checkpoint)
    list_small_files(folder)  # they are copied into the packed model; a link out of the folder is refused now
    name = "demo model" if recipe.model.path == "demo" else origin(folder) or folder.resolve().name
    return Inputs(
        name,
        checkpoint,
        content_hash(checkpoint),
        model_window(folder),
        _text_of(folder, recipe.text.calibration, "calibration"),
        _text_of(folder, recipe.text.evaluation, "evaluation"),
    )


def is_packed(folder: Path) -> bool:
    """Return whether a model folder is in HALO's packed form, by its configuration."""
    return is_quantized(read_config(folder))


def model_window(folder: Path) -> int:
    """Return the number of tokens in a window of this model: its number of positions, 2048 at most."""
    return window_tokens(read_config(folder), 2048)


def has_tensors(name: str) -> bool:
    """Return whether `name` means a model with its tensors: `demo`, a folder, a GGUF file or a name of the hub."""
    path = Path(name).expanduser()
    return (
        name == "demo"
        or path.is_dir()
        or is_gguf(path)
        or path.suffix.lower() in (GGUF, ".safetensors")
        or (not path.exists() and is_hub_name(name))
    )


def read_model_sizes(name: str) -> tuple[ModelSizes, int]:
    """Return the sizes of a model without tensors to plan for, and the number of tokens in its window.

    Args:
        name: A config.json alone, or a named shape such as `llama2-7b`.

    Raises:
        InputError: The name is neither, or transformers has no such decoder.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _sizes_of_config(path), window_tokens(read_config(path), 2048)
    if name.lower() not in MODELS:
        raise InputError(
            f"the model to plan for must be a folder, a GGUF file, a name in the hub's cache, a config.json, or one of "
            f"{', '.join(MODELS)}, not {name!r:.80}"
        )
    return sizes_of_shape(named_shape(name)), 2048


def text_file(path: str, use: str) -> Path:
    """Return the file of a text; `demo` is the text for this use (`calibration` or `evaluation`) in the package."""
    return package_folder() / "demo" / f"{use}.txt" if path == "demo" else Path(path)


def _sizes_of_config(path: Path) -> ModelSizes:
    """Return the sizes of the model that a config.json describes, with the layers that transformers gives it.

    Without transformers, only families whose layers this package knows can be planned for.
    """
    config = read_config(path)
    tensors = described_tensors(path, config, "planning for")
    if tensors is None:
        return sizes_of_shape(shape_from_config(config, str(path)))
    return sizes_of_checkpoint(virtual_checkpoint(path, config, tensors))


def described_tensors(path: Path, config: Mapping[str, object], doing: str) -> Mapping[str, tuple[int, ...]] | None:
    """Return the shapes of the tensors that transformers gives the model of a config.json.

    None means that transformers is not installed, and that this package knows the layers of the family.

    Raises:
        CheckpointError: Transformers cannot build the model.
        MissingExtraError: Transformers is not installed, and the package does not know the family. `doing` begins the
            sentence.
    """
    try:
        from haloquant.lm.model_check import tensor_shapes
    except ImportError as error:
        family = config.get("model_type")
        if str(family) in SHAPED:
            return None
        raise MissingExtraError(
            f"{doing} {path}, a {family} model without its tensors, needs torch and transformers: "
            "pip install 'haloquant[lm]'; or give the model's folder"
        ) from error
    return tensor_shapes(path)


def _text_of(folder: Path, path: str, use: str) -> Text:
    """Return a text of a recipe; an error of the text begins with its key."""
    try:
        return read_text(folder, path, use)
    except CheckpointError:
        raise
    except InputError as error:
        raise RecipeError(f"text.{use}: {error}") from error


def read_text(folder: Path, path: str, use: str) -> Text:
    """Return a text as tokens of the model in `folder`.

    Args:
        folder: The model folder, which holds the tokenizer.
        path: A text file; `demo` is the text for this use that comes with the package.
        use: `calibration` or `evaluation`.

    Raises:
        InputError: There is no such text.
        CheckpointError: The tokenizer is missing, or gives a token beyond the model's vocabulary.
    """
    file = text_file(path, use)
    text = load_text(file)
    name = f"the demo's own {use} text" if path == "demo" else file.name
    tokens = tokenize(folder, text)
    _check_vocabulary(folder, name, tokens)
    return Text(name, tokens, sha256_bytes(text.encode()))


def _check_vocabulary(folder: Path, name: str, tokens: np.ndarray) -> None:
    """Refuse tokens that the model has no embedding for.

    Raises:
        CheckpointError: There is one.
    """
    size = whole_number(text_part(read_config(folder)), VOCABULARY)
    if size is not None and len(tokens) and int(tokens.max()) >= size:
        raise CheckpointError(
            f"the tokenizer of {folder} must give tokens below the model's vocabulary of {size}, but gives "
            f"{int(tokens.max())} for {name}: it belongs to another model, or tokens were added to it alone"
        )


def calibration_windows(folder: Path, text: Text, samples: int) -> tuple[Int64[np.ndarray, "s t"], str]:
    """Return at most `samples` windows of a text, as long as the model's context, and a name for their source.

    Raises:
        InputError: The text is shorter than one window.
    """
    from haloquant.lm.calibration.in_memory import cut_windows  # needs torch

    windows = cut_windows(text.tokens, model_window(folder), samples)
    return windows, f"{_windows(len(windows))} of {text.name}"


def missing_windows(text: Text, windows: np.ndarray, samples: int) -> tuple[str, ...]:
    """Return a sentence if a text has fewer calibration windows [windows, tokens] than were asked for."""
    count, length = windows.shape
    used = "was" if count == 1 else "were"
    note = f"{text.name} has {_windows(count)} of {length} tokens, so {count} {used} used and not {samples}"
    return (note,) if count < samples else ()


def _windows(count: int) -> str:
    return f"{count} window" if count == 1 else f"{count} windows"
