"""Merge a LoRA adapter that lies beside a model into its weights: W + scale B A (arXiv 2106.09685).

The files are those of the package peft: `adapter_config.json` and `adapter_model.safetensors`. A weight is merged when
it is read, so the folder is not changed. Adapters that are not a plain sum of this form are refused.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from jaxtyping import Float32

from haloquant.errors import MALFORMED, CheckpointError
from haloquant.lm.checkpoint.model_config import ADAPTER_CONFIG
from haloquant.lm.checkpoint.model_files import ADAPTER
from haloquant.lm.checkpoint.remote import RemoteFile
from haloquant.lm.checkpoint.safetensors import StoredTensor, check_piece, read_float32, read_header
from haloquant.quant.rounding.linear_algebra import product
from haloquant.store.atomic_files import read_bounded

PICKLED = "adapter_model.bin"
MAX_BYTES = 1 << 24
_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.(?:default\.)?weight")
# Settings that change what a merge is; an adapter that has one is refused.
_OTHER_KINDS = (
    "use_dora", "use_qalora", "use_bdlora", "lora_bias", "layer_replication", "target_parameters", "modules_to_save",
    "trainable_token_indices", "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config",
    "megatron_config",
)  # fmt: skip
_OTHER_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")  # these change the weights of the model itself


Positive = Annotated[float, msgspec.Meta(gt=0)]


class _Config(msgspec.Struct):
    peft_type: str
    r: Positive = 8.0
    lora_alpha: float = 8.0
    use_rslora: bool = False
    fan_in_fan_out: bool = False
    bias: str = "none"
    rank_pattern: dict[str, Positive] | None = None
    alpha_pattern: dict[str, float] | None = None
    init_lora_weights: bool | str | None = True


@dataclass(frozen=True, slots=True)
class MergedTensor(StoredTensor):
    """A weight with its adapter: the tensor of the model plus `scale` B A, transposed if the weight is [in, out]."""

    base: StoredTensor
    a: StoredTensor
    b: StoredTensor
    scale: float
    transposed: bool

    @property
    def readable(self) -> bool:
        """Whether the values can be read as float32."""
        return self.base.readable and self.a.readable and self.b.readable

    @property
    def copied_dtype(self) -> str:
        """The type in which a copy has exactly the same values."""
        return "F32"

    @property
    def files(self) -> tuple[Path | RemoteFile, ...]:
        """The files that hold the values."""
        return (*self.base.files, self.a.file)

    def fill(self, out: Float32[np.ndarray, " n"], start: int) -> None:
        """Read elements `start` to `start + out.size` in storage order.

        Raises:
            CheckpointError: A file ends early, or a value is NaN or infinite.
        """
        self.base.fill(out, start)
        b, a = (read_float32(tensor).reshape(tensor.shape) for tensor in (self.b, self.a))
        left, right = (a.T, b.T) if self.transposed else (b, a)
        columns = self.shape[1]
        first, last = start // columns, -(-(start + out.size) // columns)  # the rows that these elements stand in
        added = product(left[first:last], right) * np.float32(self.scale)
        out += added.reshape(-1)[start - first * columns :][: out.size]
        check_piece(out, self, start)


def merge_adapter(folder: Path, tensors: Mapping[str, StoredTensor]) -> tuple[dict[str, StoredTensor], tuple[str, ...]]:
    """Return the tensors of a model with the adapter that lies in its folder, and a note if there is one.

    Args:
        folder: the model folder.
        tensors: its tensors by name.

    Raises:
        CheckpointError: The adapter is damaged, of another kind than plain LoRA, or of another model.
    """
    path, file = folder / ADAPTER_CONFIG, folder / ADAPTER
    if not file.is_file():
        if path.is_file():
            pickled = " (adapter_model.bin can run code and is not read)" if (folder / PICKLED).is_file() else ""
            raise CheckpointError(
                f"{folder} must hold {ADAPTER} beside {ADAPTER_CONFIG}, but does not{pickled}; save the adapter again "
                "in safetensors, or remove its configuration"
            )
        return dict(tensors), ()
    config = _read_config(path)
    merged, ranks = dict(tensors), set[int]()
    pairs = _pairs(file)
    for module, (a, b) in pairs.items():
        base = tensors.get(f"{module}.weight")
        if base is None:
            raise CheckpointError(f"{file} must be an adapter of the model beside it, which has no layer {module}")
        rank = a.shape[0] if len(a.shape) == 2 else 0
        transposed = config.fan_in_fan_out
        shape = (b.shape[0], a.shape[-1]) if len(b.shape) == 2 and b.shape[1] == rank else (0, 0)
        if base.shape != (shape[::-1] if transposed else shape):
            raise CheckpointError(
                f"{file} must hold matrices that multiply to {list(base.shape)} for {module}, not {list(b.shape)} and "
                f"{list(a.shape)}; the adapter is of another model"
            )
        if rank != (said := _of_pattern(config.rank_pattern, module, config.r)):
            raise CheckpointError(
                f"{path} must give the rank of the matrices of {module}, which is {rank}, but gives {said:g}, and the "
                "scale follows from it; give the configuration of this adapter"
            )
        scale = _scale(config, module)
        merged[base.name] = MergedTensor(
            base.name, base.file, "F32", base.shape, base.offset, 4 * base.count, base, a, b, scale, transposed
        )
        ranks.add(rank)
    kind = ", ".join(map(str, sorted(ranks)))
    return merged, (f"the adapter beside the model (LoRA of rank {kind}) is merged into {len(pairs)} layers",)


def _read_config(path: Path) -> _Config:
    data = read_bounded(path, MAX_BYTES, "an adapter must have adapter_config.json", CheckpointError)
    try:
        config = msgspec.json.decode(data, type=_Config)
        values = msgspec.json.decode(data, type=dict[str, object])
    except MALFORMED as error:
        raise CheckpointError(f"{path} must be the JSON configuration of an adapter, but: {error}") from error
    given = [name for name in _OTHER_KINDS if values.get(name)]
    start = config.init_lora_weights
    if config.peft_type.upper() != "LORA":
        given.insert(0, f"peft_type {config.peft_type!r:.40}")
    if config.bias != "none":
        given.append(f"bias {config.bias!r:.40}")
    if isinstance(start, str) and start.startswith(_OTHER_STARTS):
        given.append(f"init_lora_weights {start!r:.40}")
    if given:
        raise CheckpointError(
            f"{path} must describe a plain LoRA adapter to be merged, not one with {given[0]}; merge it with peft "
            "(merge_and_unload) and save the model, or remove the adapter to quantize the model without it"
        )
    return config


def _pairs(file: Path) -> dict[str, tuple[StoredTensor, StoredTensor]]:
    """Return A and B of each adapted layer, by the name of the layer."""
    found: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in read_header(file).items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise CheckpointError(
                f"{file} must hold the matrices of a LoRA adapter (names like base_model.model.x.lora_A.weight), not "
                f"{name:.120}; merge it with peft (merge_and_unload) and save the model"
            )
        found.setdefault(match[1], {})[match[2]] = tensor
    for module, parts in found.items():
        if set(parts) != {"A", "B"}:
            raise CheckpointError(f"{file} must hold lora_A and lora_B of {module}, but holds one of them")
    if not found:
        raise CheckpointError(f"{file} must hold the matrices of an adapter, but holds none")
    return {module: (parts["A"], parts["B"]) for module, parts in found.items()}


def _scale(config: _Config, module: str) -> float:
    """Return the factor of B A: alpha over the rank, or over its square root for rank-stabilized LoRA.

    Patterns name layers by the end of their names, as in peft.
    """
    rank = _of_pattern(config.rank_pattern, module, config.r)
    alpha = _of_pattern(config.alpha_pattern, module, config.lora_alpha)
    return alpha / (math.sqrt(rank) if config.use_rslora else rank)


def _of_pattern(patterns: Mapping[str, float] | None, module: str, otherwise: float) -> float:
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(?:.*\.)?(?:{pattern})$", module):
            return value
    return otherwise
