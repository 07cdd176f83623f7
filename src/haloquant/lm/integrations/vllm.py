"""Packed HALO layers in vLLM: a quantization configuration and a linear method. Only vLLM's plugin loader imports it.

vLLM fuses layers (q, k and v into one) and creates parameters before it reads a file, but the lengths of packed tensors
are only known from the file. So each parameter starts empty, and its weight loader keeps the tensors of each part.
After loading, every part becomes a checked `HaloLinear`, and the fused layer concatenates their outputs. The digest
over all tensors is compared earlier, when vLLM passes the model folder to the configuration.
"""

# vLLM may be absent:
# pyright: reportMissingImports=false

from pathlib import Path
from typing import Any

import msgspec
import torch
from vllm.model_executor.layers.linear import LinearBase, LinearMethodBase, UnquantizedLinearMethod
from vllm.model_executor.layers.quantization import register_quantization_config
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig

from haloquant.errors import FormatError, InfeasibleError
from haloquant.lm.packed.config import METHOD, PackedConfig, parse_config
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.lm.packed.reader import check_digest, open_packed
from haloquant.quant.format.packing import DENSE, OPTIONAL

KINDS = {
    "weight_packed": torch.uint8, "weight_scale": torch.float16, "weight_tile_class": torch.uint8,
    "weight_shape": torch.int32, "sparse_row_count": torch.uint8, "sparse_row_ptr": torch.int32,
    "sparse_col": torch.uint16, "sparse_value": torch.int8, "sparse_scale": torch.float16, "sparse_kind": torch.uint8,
    "weight_offset": torch.float16, "input_threshold": torch.float32, "input_norm": torch.float16,
    "input_sparsity": torch.float32,
}  # fmt: skip


@register_quantization_config(METHOD)
class HaloVllmConfig(QuantizationConfig):
    """`quantization_config` of a packed model, in the interface of vLLM."""

    def __init__(self, packed: PackedConfig) -> None:
        super().__init__()
        self.packed = packed

    def get_name(self) -> str:
        """Return the name of the method."""
        return METHOD

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        """Return the supported types of activations; products are accumulated in float32."""
        return [torch.bfloat16, torch.float16, torch.float32]

    @classmethod
    def get_min_capability(cls) -> int:
        """Return the least CUDA compute capability (times 10) that Triton supports."""
        return 80

    @staticmethod
    def get_config_filenames() -> list[str]:
        """Return no file names, since everything is in config.json."""
        return []

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "HaloVllmConfig":
        """Make the configuration from `quantization_config` of config.json.

        Raises:
            FormatError: It is not that of a packed model of a supported version.
        """
        return cls(parse_config(config))

    def get_quant_method(self, layer: Any, prefix: str) -> Any:
        """Return the HALO method for packed layers, vLLM's own for other linear layers, and None for everything else.

        Raises:
            FormatError: Only a part of a fused layer is packed.
            InfeasibleError: A packed layer is not a linear layer in vLLM (an output head, a block of experts).
        """
        if not isinstance(layer, LinearBase):
            for name in self.packed.layers:
                if name == prefix or name.startswith(f"{prefix}."):
                    raise InfeasibleError(
                        f"{name} must be a linear layer in vLLM to run packed, not part of {type(layer).__name__}: "
                        "leave it in full precision, or run the model in transformers"
                    )
            return None
        names = part_names(prefix, self.packed_modules_mapping)
        packed = [name in self.packed.layers for name in names]
        if not any(packed):
            return UnquantizedLinearMethod()
        if not all(packed):
            raise FormatError(f"{prefix} must be packed as a whole or not at all, since vLLM fuses {', '.join(names)}")
        return HaloVllmMethod(self.packed, names)

    def maybe_update_config(self, model_name: str, hf_config: Any = None, revision: str | None = None) -> None:
        """Compare the digest over all tensors; vLLM calls this between reading the configuration and loading.

        Raises:
            FormatError: The folder has changed since it was written.
            InfeasibleError: The model is not a local folder.
        """
        if not Path(model_name).is_dir():
            raise InfeasibleError(
                f"a packed HALO model must be served from a local folder, not {model_name!r}: its checksums are "
                "compared before it is loaded; download it first"
            )
        model = open_packed(model_name)
        check_digest(model.config, model.tensors)

    def apply_vllm_mapper(self, hf_to_vllm_mapper: Any) -> None:
        """Rename the packed layers as the model's class in vLLM names them."""
        names = hf_to_vllm_mapper.apply_list(list(self.packed.layers))
        self.packed = msgspec.structs.replace(self.packed, layers=tuple(names))


class HaloVllmMethod(LinearMethodBase):
    """Collects the packed tensors of one layer, which may be fused, and computes with them."""

    def __init__(self, packed: PackedConfig, names: list[str]) -> None:
        self.packed = packed
        self.names = names

    def create_weights(
        self,
        layer: Any,
        input_size_per_partition: int,
        output_partition_sizes: list[int],
        input_size: int,
        output_size: int,
        params_dtype: torch.dtype,
        **_: Any,
    ) -> None:
        """Give the layer an empty parameter for every tensor that the file may hold.

        Raises:
            InfeasibleError: The layer is split among devices; tiles cannot be split.
        """
        if input_size_per_partition != input_size or sum(output_partition_sizes) != output_size:
            raise InfeasibleError("a packed HALO model must run on one device in vLLM, not split by tensor parallelism")
        layer.halo_parts = {}
        layer.halo_sizes = (output_partition_sizes, input_size, params_dtype)
        for name in (*DENSE, *OPTIONAL, "weight"):
            kind = KINDS.get(name, params_dtype)  # vLLM warns if the type in the file differs
            parameter: Any = torch.nn.Parameter(torch.empty(0, dtype=kind), requires_grad=False)
            parameter.weight_loader = _KeepingLoader(layer.halo_parts, name)
            layer.register_parameter(name, parameter)

    def process_weights_after_loading(self, layer: Any) -> None:
        """Make packed layers of the loaded tensors, and check them.

        Raises:
            FormatError: A tensor is missing or damaged.
        """
        sizes, width, dtype = layer.halo_sizes
        if len(self.names) == 1:  # the checkpoint itself stores q, k and v as one layer
            sizes = [sum(sizes)]
        modules = []
        for index, (name, size) in enumerate(zip(self.names, sizes, strict=True)):
            tensors = _part(layer.halo_parts, index, len(self.names))
            missing = [part for part in DENSE if part not in tensors]
            if missing:
                raise FormatError(f"{name} must have a tensor {missing[0]}, and it is missing: the model is incomplete")
            shapes = {part: (tensor.dtype, tuple(tensor.shape)) for part, tensor in tensors.items() if part != "weight"}
            module = HaloLinear(name, self.packed, shapes, (size, width), False, dtype)
            for part in shapes:
                setattr(module, part, tensors[part])
            module.weight = torch.empty(0, dtype=dtype)
            module.check()
            module.to(layer.weight.device).layer()  # not while a CUDA graph is captured
            modules.append(module)
        layer.halo_parts = None
        layer.halo_modules = torch.nn.ModuleList(modules)

    def apply(self, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Return the product, [..., in] -> [..., out]; the outputs of fused parts are concatenated."""
        outputs = [module(x) for module in layer.halo_modules]
        y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        return y if bias is None else y + bias


class _KeepingLoader:
    """A weight loader that keeps a copy of the tensor under the part of the fused layer that it belongs to."""

    def __init__(self, parts: dict[Any, dict[str, torch.Tensor]], name: str) -> None:
        self.parts = parts
        self.name = name

    def __call__(self, param: torch.nn.Parameter, loaded_weight: torch.Tensor, shard: Any = None) -> None:
        self.parts.setdefault(shard, {})[self.name] = loaded_weight.clone()


def part_names(prefix: str, mapping: dict[str, list[str]]) -> list[str]:
    """Return the layers of the checkpoint that form a (fused) layer of vLLM, in their order."""
    parent, _, leaf = prefix.rpartition(".")
    return [f"{parent}.{part}" if parent else part for part in mapping.get(leaf, [leaf])]


def _part(parts: dict[Any, dict[str, torch.Tensor]], index: int, count: int) -> dict[str, torch.Tensor]:
    """Return the tensors of one part of a layer.

    vLLM numbers the parts, or calls them "q", "k" and "v"; the part of an unfused layer has the key None.
    """
    keys = [None] if count == 1 else [index, "qkv"[index] if count == 3 else index]
    return next((parts[key] for key in keys if key in parts), {})
