"""Make the small files of a Hugging Face folder from a GGUF file: config.json and the tokenizer.

transformers rebuilds both from the metadata. What it leaves out of the configuration (sizes that its own defaults
replace, and the scaling of positions) is added here from the metadata and the shapes of the tensors.
"""

import atexit
import json
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

from haloquant.errors import CheckpointError, MissingExtraError, first_line
from haloquant.lm.checkpoint.gguf.header import MAGIC, GgufHeader, read_gguf_header
from haloquant.lm.checkpoint.gguf.names import check_architecture, map_tensors
from haloquant.lm.checkpoint.gguf.package import gguf_package
from haloquant.lm.checkpoint.gguf.tensors import GgufTensor
from haloquant.lm.checkpoint.paths import MARK

LINK = "model.gguf"  # the file itself, in the folder of its small files
_made: dict[tuple[str, int, int], Path] = {}


def make_folder(file: Path) -> Path:
    """Return a folder with the configuration and the tokenizer of a GGUF file, and a link to the file.

    The folder has the file's name. It is a temporary one, made once for a file, and removed when the process ends.

    Raises:
        CheckpointError: the file is damaged, or of a family that is not read.
        MissingExtraError: the gguf package or transformers is not installed.
    """
    header = read_gguf_header(file)
    path = file.resolve()
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    if key in _made and _made[key].is_dir():
        return _made[key]
    check_architecture(header)
    gguf_package()
    home = Path(tempfile.mkdtemp(prefix="haloquant-gguf-"))
    atexit.register(shutil.rmtree, home, True)
    folder = home / file.stem
    folder.mkdir()
    (folder / LINK).symlink_to(path)
    config = make_config(header)
    (folder / "config.json").write_text(_config_text(config))
    _write_tokenizer(header, folder)
    (folder / MARK).touch()
    _made[key] = folder
    return folder


def read_tensors(folder: Path) -> dict[str, GgufTensor]:
    """Return the tensors of the GGUF file that `make_folder` made `folder` of, by their names in transformers.

    Raises:
        CheckpointError: the file is not a whole model of its configuration (`names.map_tensors`).
    """
    from transformers import AutoConfig

    header = read_gguf_header((folder / LINK).resolve())
    return map_tensors(header, AutoConfig.from_pretrained(folder, local_files_only=True))


def _config_text(config: Any) -> str:
    """Return config.json with all values, so that it does not depend on the defaults of the version that reads it."""
    values = json.loads(config.to_json_string(use_diff=False))
    for name in ("_model_name_or_path", "_name_or_path"):  # the file's title, and a temporary folder
        values.pop(name, None)
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def make_config(header: GgufHeader) -> Any:
    """Return the configuration of transformers for a GGUF file.

    Raises:
        CheckpointError: transformers cannot build it from the metadata.
        MissingExtraError: transformers is not installed.
    """
    try:
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

        from haloquant.lm.torch_model import quiet_transformers
    except ImportError as error:
        raise MissingExtraError("GGUF files need torch and transformers: pip install 'haloquant[gguf]'") from error
    with tempfile.TemporaryDirectory(prefix="haloquant-gguf-") as scratch:
        (Path(scratch) / "header.gguf").write_bytes(_short_header(header))
        try:
            with quiet_transformers():
                config = AutoConfig.from_pretrained(scratch, gguf_file="header.gguf", local_files_only=True)
                _complete(config, header)
        except Exception as error:  # the library and the package raise whatever a wrong value leads to
            raise CheckpointError(
                f"{header.file} must describe a model of transformers, but: {first_line(error)}"
            ) from error
    config.architectures = [CLASSES[config.model_type]]
    return config


def _short_header(header: GgufHeader) -> bytes:
    """Return a GGUF file with the same metadata and names of tensors, without the lists of tokens and the data.

    The reader that transformers uses takes tens of seconds for the lists of tokens.
    """
    kept = [data for name, data in header.encoded.items() if not name.startswith("tokenizer.ggml.")]
    kept += [
        data
        for name, data in header.encoded.items()
        if name.startswith("tokenizer.ggml.") and not isinstance(header.metadata[name], list)
    ]
    names = [name.encode() for name in header.tensors]
    table = b"".join(struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 1, 0, 0) for name in names)
    head = MAGIC + struct.pack("<IQQ", header.version, len(names), len(kept)) + b"".join(kept) + table
    return head + bytes(1 << 21)  # at least one alignment, and the one value that all tensors share


def _complete(config: Any, header: GgufHeader) -> None:
    """Add what transformers does not read from the metadata."""
    tensors = header.tensors
    if (embedding := tensors.get("token_embd.weight")) is not None:
        config.vocab_size = embedding.shape[0]
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):  # a family's default may lie beyond
            if isinstance(token := getattr(config, name, None), int) and token >= config.vocab_size:
                setattr(config, name, None)
    if header.architecture == "gpt2":
        config.n_positions = int(header.number("context_length") or config.n_positions)
        config.n_inner = int(header.number("feed_forward_length") or 0) or None
    if (width := header.number("attention.key_length")) is not None and hasattr(config, "head_dim"):
        config.head_dim = int(width)
    if hasattr(config, "attention_bias"):
        config.attention_bias = "blk.0.attn_q.bias" in tensors
    if hasattr(config, "mlp_bias"):
        config.mlp_bias = "blk.0.ffn_up.bias" in tensors


def _write_tokenizer(header: GgufHeader, folder: Path) -> None:
    """Write the tokenizer of the file, if it holds one."""
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        return
    from transformers import PreTrainedTokenizerFast

    from haloquant.lm.torch_model import quiet_transformers

    try:
        with quiet_transformers():
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, gguf_file=LINK, local_files_only=True)
    except Exception as error:  # the library raises whatever a damaged list leads to
        raise CheckpointError(
            f"{header.file} must hold a tokenizer that transformers can build, but: {first_line(error)}"
        ) from error
    tokenizer.save_pretrained(folder)
