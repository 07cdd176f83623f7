"""Load a packed model into memory, ready to run. `haloquant.load` calls it."""

from pathlib import Path
from typing import Any, Literal, get_args

from haloquant.errors import InputError, MissingExtraError
from haloquant.lm.packed.reader import check_profile, open_packed

Activations = Literal["float", "int8", "mixed"]


def load(
    folder: Path | str,
    *,
    profile_sha256: str | None = None,
    activations: Activations = "float",
    head_bits: int = 16,
    **settings: Any,
) -> Any:
    """Load the causal language model of a packed folder.

    It does the same as `AutoModelForCausalLM.from_pretrained` after `import haloquant`, but nothing is downloaded and
    no code of the folder is run.

    Args:
        folder: a folder that `export_packed` or `save_pretrained` wrote.
        profile_sha256: hash of the MAC profile for which the model must be made; any profile where None.
        activations: "float" multiplies weights with activations as they are. "int8" rounds the inputs of the packed
            layers to 8 bits, with one scale for each token, as the accelerator does, and multiplies integers where
            that is faster. It costs accuracy, which `haloquant evaluate --activations token` measures. "mixed" does so
            with the bits that the model stores: fewer for the tokens that its thresholds choose
            (`lm.attention.token_importance`).
        head_bits: 16 multiplies with the head as it is stored. 8 rounds its weights to 8 bits, to nearest, with one
            scale for each word of the vocabulary.
        **settings: passed to `from_pretrained`, for example `dtype`, `device_map`, `attn_implementation`.

    Returns:
        A model of transformers whose linear layers compute from their packed codes.

    Raises:
        FormatError: The folder is damaged, incomplete, of another version, or made for another profile.
        MissingExtraError: torch or transformers is not installed.
        CheckpointError: Transformers does not know the model.
        InputError: `activations` or `head_bits` is none of these, or the head is not a linear layer; or `activations`
            is "mixed", and the model holds no thresholds or its attentions cannot be seen.
        InfeasibleError: Tiles are so long that float32 cannot hold their integer sums.
    """
    if activations not in get_args(Activations):
        raise InputError(f"activations must be float, int8 or mixed, not {activations!r}")
    model = open_packed(folder)
    mixed = model.config.stored_activations() if activations == "mixed" else None
    if activations == "mixed" and mixed is None:
        raise InputError(
            f"activations must be float or int8 for {model.folder}, which holds no thresholds of tokens; quantize it "
            "with --low-share"
        )
    check_profile(model.config, profile_sha256)
    try:
        from haloquant.kernels.dispatch import check_integers
        from haloquant.lm.attention.token_importance import TokenClasses
        from haloquant.lm.attention.watch import watch
        from haloquant.lm.model_class import building, model_class
        from haloquant.lm.packed.halo_linear import HaloLinear
        from haloquant.lm.packed.token_head import check_head_bits, round_head
    except ImportError as error:
        raise MissingExtraError("running a model needs torch and transformers: pip install 'haloquant[lm]'") from error
    check_head_bits(head_bits)
    if activations != "float":
        check_integers(model.config.tile_in)
    plain = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    with building(model.folder, model.folder):
        made = model_class(model.folder).from_pretrained(model.folder, **plain, **settings)
    round_head(made, head_bits)
    classes = None if mixed is None else TokenClasses(mixed)
    if classes is not None:
        watch(made, classes)
    for module in made.modules():
        if isinstance(module, HaloLinear):
            module.int8_activations, module.token_classes = activations != "float", classes
    return made
