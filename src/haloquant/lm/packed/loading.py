"""`haloquant.load`: a packed model, in memory and ready to run."""

from pathlib import Path
from typing import Any

from haloquant.errors import CheckpointError, HaloquantError, MissingExtraError
from haloquant.lm.packed.reader import check_profile, open_packed


def load(folder: Path | str, *, profile_sha256: str | None = None, **settings: Any) -> Any:
    """The causal language model of a packed folder, as `AutoModelForCausalLM.from_pretrained` after `import haloquant`.

    Nothing is fetched and no code of the folder is run.

    Args:
        folder: what `export_packed` or `save_pretrained` wrote.
        profile_sha256: the MAC profile the model should be made for; any where None.
        **settings: passed to `from_pretrained`: `dtype`, `device_map`, `attn_implementation` ...

    Raises:
        FormatError: the folder is damaged, incomplete, of another version, or made for another profile.
        MissingExtraError: torch or transformers is not installed.
        CheckpointError: transformers does not know the model.
    """
    model = open_packed(folder)
    check_profile(model.config, profile_sha256)
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtraError("running a model needs torch and transformers: pip install 'haloquant[lm]'") from error
    plain = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    try:
        return AutoModelForCausalLM.from_pretrained(model.folder, **plain, **settings)
    except HaloquantError:
        raise
    except (ValueError, KeyError, OSError, ImportError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise CheckpointError(f"{model.folder} must load as a causal model in transformers, but: {line}") from error
