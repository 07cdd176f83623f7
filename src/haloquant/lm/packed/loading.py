"""Load a packed model into memory, ready to run (`haloquant.load`)."""

from pathlib import Path
from typing import Any

from haloquant.errors import CheckpointError, HaloquantError, MissingExtraError, first_line
from haloquant.lm.packed.reader import check_profile, open_packed


def load(folder: Path | str, *, profile_sha256: str | None = None, **settings: Any) -> Any:
    """Load the causal language model of a packed folder.

    It does the same as `AutoModelForCausalLM.from_pretrained` after `import haloquant`, but nothing is downloaded and
    no code of the folder is run.

    Args:
        folder: a folder that `export_packed` or `save_pretrained` wrote.
        profile_sha256: hash of the MAC profile for which the model must be made; any profile where None.
        **settings: passed to `from_pretrained`, for example `dtype`, `device_map`, `attn_implementation`.

    Returns:
        A model of transformers whose linear layers compute from their packed codes.

    Raises:
        FormatError: the folder is damaged, incomplete, of another version, or made for another profile.
        MissingExtraError: torch or transformers is not installed.
        CheckpointError: transformers does not know the model.
    """
    model = open_packed(folder)
    check_profile(model.config, profile_sha256)
    try:
        from haloquant.lm.model_class import model_class
    except ImportError as error:
        raise MissingExtraError("running a model needs torch and transformers: pip install 'haloquant[lm]'") from error
    plain = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    try:
        return model_class(model.folder).from_pretrained(model.folder, **plain, **settings)
    except HaloquantError:
        raise
    except (ValueError, KeyError, OSError, ImportError) as error:
        raise CheckpointError(
            f"{model.folder} must load as a causal model in transformers, but: {first_line(error)}"
        ) from error
