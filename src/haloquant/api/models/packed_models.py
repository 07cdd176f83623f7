"""Load a packed model, check it, or write it in a form that loads without haloquant."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from haloquant.api.arguments import check_choice, path_text
from haloquant.api.progress import Progress, reporting
from haloquant.errors import InputError
from haloquant.jobs.inputs import model_folder
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.compressed_tensors import export_compressed
from haloquant.lm.export.dequantized import export_dequantized
from haloquant.lm.export.folding import with_others_of
from haloquant.lm.export.original_files import FLOATS, Exported
from haloquant.lm.packed import loading, reader
from haloquant.lm.packed.loading import Activations
from haloquant.lm.packed.reader import Verified
from haloquant.store.profiles import find_profile
from haloquant.store.profiles import profile_sha256 as hash_profile

if TYPE_CHECKING:
    from transformers import PreTrainedModel
else:
    PreTrainedModel = Any  # transformers is an extra

Format = Literal["dequantized", "compressed-tensors"]
ExportDtype = Literal["model", "float32", "bfloat16", "float16"]


def load(
    folder: str | Path,
    *,
    profile_sha256: str | None = None,
    profile: str | Path | None = None,
    activations: Activations = "float",
    head_bits: int = 16,
    **settings: Any,
) -> PreTrainedModel:
    """Load the causal language model of a packed folder.

    It does the same as `AutoModelForCausalLM.from_pretrained` after `import haloquant`, but nothing is downloaded and
    no code of the folder is run.

    Args:
        folder: Packed model folder, or a folder that `save_pretrained` wrote of a packed model.
        profile_sha256: SHA-256 of the MAC profile that the model must be made for; any if None.
        profile: The MAC profile that the model must be made for, by name: a shipped profile's name, or a file that
            `characterize` wrote.
        activations: "float" multiplies weights with activations as they are. "int8" rounds the inputs of the packed
            layers to 8 bits, with one scale for each token, as the accelerator does, and multiplies integers where
            that is faster. It costs accuracy, which `haloquant evaluate --activations token` measures. "mixed" does so
            with the bits that the model stores (`quantize(low_share=...)`): fewer for the tokens that matter least.
        head_bits: 16 multiplies with the head as it is stored. 8 rounds its weights to 8 bits, to nearest, with one
            scale for each word of the vocabulary. A token on a CPU then reads half as many bytes of the head, which is
            a large part of a small model; prompts, and tokens on a GPU, take longer. `haloquant evaluate --head-bits 8`
            measures what it costs. It holds for the head that is loaded: not for files, nor for a head made anew.
        settings: Passed to `from_pretrained`, for example `dtype`, `device_map`, `attn_implementation`.

    Returns:
        A model of transformers whose linear layers compute from their packed codes.

    Raises:
        FormatError: The folder is damaged, incomplete, of another version, or made for another profile.
        MissingExtraError: torch or transformers is not installed.
        CheckpointError: Transformers does not know the model.
        InputError: There is no such profile, both ways to name it are given, `activations` or `head_bits` is none of
            these, `activations` is "mixed" for a model that stores no such bits, or the head is not a linear layer.
        InfeasibleError: Tiles are so long that float32 cannot hold their integer sums.

    Example:
        ```python
        import haloquant

        model = haloquant.load("model-halo", profile="default")
        print(model.config.model_type)
        ```
    """
    path = path_text("folder", folder)
    wanted = _hash(profile_sha256, profile)
    return loading.load(path, profile_sha256=wanted, activations=activations, head_bits=head_bits, **settings)


def verify(folder: str | Path, profile_sha256: str | None = None, *, profile: str | Path | None = None) -> Verified:
    """Check every byte of a packed model: its manifest, the digest of its tensors and configuration, and every code.

    Args:
        folder: Packed model folder.
        profile_sha256: SHA-256 of the MAC profile that the model must be made for; any if None.
        profile: The MAC profile that the model must be made for, by name: a shipped profile's name, or a file that
            `characterize` wrote.

    Returns:
        The number of layers, weights, tensors and files that were checked, and the bits per weight. The notes say which
        files could not be checked: those that the manifest does not name, and all where there is no manifest.

    Raises:
        FormatError: Something is damaged, missing, of another version, or made for another profile. (An InputError.)
        InputError: There is no such profile, or `profile_sha256` is given beside it.

    Example:
        ```python
        import haloquant

        print(haloquant.verify("model-halo", profile="default").layers, "layers are intact")
        ```
    """
    path = path_text("folder", folder)
    return reader.verify(path, _hash(profile_sha256, profile))


def export(
    model: str | Path,
    out: str | Path,
    *,
    source: str | Path,
    to: Format = "dequantized",
    dtype: ExportDtype = "model",
    progress: Progress = True,
) -> Exported:
    """Write a packed model in a form that loads without haloquant.

    Args:
        model: Packed model folder.
        out: Folder to write. It must be empty or not exist yet.
        source: The model that the packed one was made of: a folder, or "demo".
        to: "dequantized" (plain weights) or "compressed-tensors" (8-bit weights that vLLM loads).
        dtype: Type of dequantized weights: "model" (that of the source), "float32", "bfloat16" or "float16".
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        The folder, the bits per weight in this format, and the bytes of all tensors.

    Raises:
        InputError: An argument is not allowed, a folder is damaged, or the model does not fit the format.

    Example:
        ```python
        import haloquant

        haloquant.export("model-halo", "model-plain", source="path/to/model")
        ```
    """
    shown = reporting(progress)
    check_choice("to", to, get_args(Format))
    check_choice("dtype", dtype, get_args(ExportDtype))
    if to != "dequantized" and dtype != "model":
        raise InputError(f"dtype must be given with to='dequantized' only, not with {to!r}: its weights are integers")
    kind = {long: short for short, long in FLOATS.items()}.get(dtype)
    write = partial(export_dequantized, dtype=kind) if to == "dequantized" else export_compressed
    folder, origin = Path(path_text("out", out)), path_text("source", source)
    packed = reader.open_packed(path_text("model", model))
    reader.refuse_adapter(packed, "exported")
    checkpoint = with_others_of(open_checkpoint(model_folder(origin)), packed.tensors)
    with shown as report:
        layers = reader.iterate_layers(packed)
        return write(checkpoint, layers, folder, progress=lambda done, total: report("export", done, total))


def _hash(given: str | None, profile: str | Path | None) -> str | None:
    """Return the hash of the profile that is named, or the hash that is given.

    Raises:
        InputError: Both are given, or there is no such profile.
    """
    if given is not None and profile is not None:
        raise InputError("profile and profile_sha256 must not both be given: one follows from the other")
    return given if profile is None else hash_profile(find_profile(path_text("profile", profile)))
