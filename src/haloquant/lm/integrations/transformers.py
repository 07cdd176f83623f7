"""Load and save packed HALO models in transformers, through its public registration (import `haloquant` first).

This module is imported during the import of `modeling_utils` of transformers, which imports the registry. So every
module that depends on `modeling_utils` is imported inside functions.
"""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from haloquant.errors import FormatError, MissingExtraError
from haloquant.lm.checkpoint.completeness import COMPUTED_TENSORS
from haloquant.lm.checkpoint.safetensors import StoredTensor, read_header
from haloquant.lm.experts import ExpertPlace, expert_places, name_layers, unstack
from haloquant.lm.export.model_folder import NAMES, SHORT, RawTensor
from haloquant.lm.packed.config import METHOD, PackedConfig, digest, line_of_data, parse_config
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.lm.packed.reader import check_digest, check_names
from haloquant.lm.packed.token_head import attach_head
from haloquant.lm.packed.token_step import attach
from haloquant.lm.swap_weights import find_module, is_linear, is_transposed
from haloquant.lm.tensor_names import TensorNames
from haloquant.quant.format.packing import DENSE, OPTIONAL

LEAST_TRANSFORMERS = (5, 21)  # older releases have other calls for what a quantizer does to the names of tensors


class HaloConfig(QuantizationConfigMixin):
    """`quantization_config` of a packed model, checked when the object is made."""

    sha256: str
    layers: tuple[str, ...]

    def __init__(self, **fields: Any) -> None:
        """Take the fields of `PackedConfig`.

        Raises:
            FormatError: They are not those of a packed model of a supported version.
        """
        self.__dict__.update(parse_config(fields).as_dict())

    @property
    def packed(self) -> PackedConfig:
        """The fields as a `PackedConfig`."""
        return parse_config(vars(self))


class HaloQuantizer(HfQuantizer):
    """Replaces the packed layers by `HaloLinear` before weights are loaded, and checks the tensors before and after."""

    # A full-precision model is quantized by `haloquant quantize`, not while it is loaded.
    requires_calibration = True

    quantization_config: HaloConfig

    def validate_environment(self, *_: Any, **__: Any) -> None:
        """Refuse a release of transformers that cannot load packed layers.

        Raises:
            MissingExtraError: It is older than `LEAST_TRANSFORMERS`.
        """
        from transformers import __version__

        if tuple(map(int, re.findall(r"\d+", __version__)[:2])) < LEAST_TRANSFORMERS:
            least = ".".join(map(str, LEAST_TRANSFORMERS))
            raise MissingExtraError(
                f"a packed model must be loaded with transformers {least} or newer, not {__version__}: "
                f"pip install 'transformers>={least}'"
            )

    def _process_model_before_weight_loading(
        self,
        model: Any,
        checkpoint_files: Sequence[str | Path] | None = None,
        dtype: torch.dtype | None = None,
        **_: Any,
    ) -> None:
        if not checkpoint_files or not all(str(file).endswith(".safetensors") for file in checkpoint_files):
            raise FormatError("a packed HALO model must be loaded from a folder of safetensors, and there is none")
        config = self.quantization_config.packed
        tensors: dict[str, StoredTensor] = {}
        for file in checkpoint_files:
            tensors |= read_header(Path(file))
        check_names(config, tensors)
        check_digest(config, tensors)
        self._unstacked = _replace_layers(model, config, tensors, dtype or torch.get_default_dtype())
        _check_complete(model, tensors)

    def update_weight_conversions(self, weight_conversions: Any, model: Any) -> Any:
        """Keep transformers from stacking the experts again that are layers of their own in this model."""
        # Imported here, because the module imports more of transformers than the registry does.
        from haloquant.lm.integrations.expert_conversions import packed_conversions

        paths = getattr(self, "_unstacked", frozenset())
        rules = super().update_weight_conversions(weight_conversions, model)
        return packed_conversions(rules, paths, model.base_model_prefix)

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
        for path, module in list(model.named_modules()):
            if isinstance(module, _Tied):
                model.set_submodule(path, module.layer)
        from haloquant.lm.model_class import leave_weights

        leave_weights(model.config)
        packed = (module for module in model.modules() if isinstance(module, HaloLinear))
        here = [module for module in packed if module.weight_packed.device.type != "meta"]
        with ThreadPoolExecutor(min(cpu_count() or 1, 16)) as pool:  # the check of the codes releases the GIL
            for _done in pool.map(HaloLinear.layer, here):
                pass
        for name in ("float", "half"):  # transformers forbids both; packed layers keep their own types in a conversion
            setattr(model, name, MethodType(getattr(nn.Module, name), model))
        attach(model)
        attach_head(model)
        return model

    def get_state_dict_and_metadata(self, model: Any) -> tuple[None, dict[str, str]]:
        """Update the digest to the tensors that transformers will write (a cast may have changed them); return None.

        None makes transformers take the model's own state dict.
        """
        from transformers.core_model_loading import revert_weight_conversion
        from transformers.modeling_utils import remove_tied_weights_from_state_dict

        kept = remove_tied_weights_from_state_dict(model.state_dict(), model)
        written = revert_weight_conversion(model, kept)
        new_names = {id(tensor): name for name, tensor in written.items()}
        layers = [path for path, x in model.named_modules(remove_duplicate=False) if isinstance(x, HaloLinear)]
        packed = [kept[name] for path in layers if (name := f"{path}.weight_packed") in kept]
        self.quantization_config.layers = tuple(new_names[id(tensor)].rpartition(".")[0] for tensor in packed)
        config = self.quantization_config.packed
        lines = {name: _line(tensor, config.version) for name, tensor in written.items()}
        self.quantization_config.sha256 = digest(config, lines)
        return None, {}

    def is_serializable(self) -> bool:  # type: ignore[override]
        """Return True: `save_pretrained` can write the packed tensors."""
        return True

    @property
    def is_trainable(self) -> bool:  # type: ignore[override]
        """Return False: codes have no gradient."""
        return False

    def _dequantize(self, model: Any, dtype: torch.dtype | None = None) -> Any:
        for name, module in list(model.named_modules()):
            if isinstance(module, HaloLinear):
                model.set_submodule(name, module.to_linear(dtype))
        return model


def _replace_layers(
    model: Any, config: PackedConfig, tensors: dict[str, StoredTensor], dtype: torch.dtype
) -> frozenset[str]:
    """Put a packed layer at the place of every layer that the configuration names.

    Returns:
        The paths of experts that are layers of their own, packed or not.
    """
    names = TensorNames(model)
    places = {place.name: place for place in expert_places(names, config.layers)}
    stacks = {place.key for place in places.values()}
    plain = [n.removesuffix(".weight") for n in tensors if n.endswith(".weight") and len(tensors[n].shape) == 2]
    unpacked = [p for p in expert_places(names, [n for n in plain if n not in places]) if p.key in stacks]

    def make(place: ExpertPlace, part: torch.Tensor) -> nn.Module:
        if place.name not in places:
            rows, columns = tensors[f"{place.name}.weight"].shape
            return nn.Linear(columns, rows, bias=False, device="meta", dtype=dtype)
        layer = _packed_layer(place.name, config, tensors, None, False, dtype)
        if layer.in_features not in part.shape or layer.out_features > max(part.shape):
            raise FormatError(
                f"{place.name} must be packed for a model whose expert is {list(part.shape)}, not as "
                f"{(layer.out_features, layer.in_features)}"
            )
        return layer

    everywhere = (*places.values(), *unpacked)
    unstack(model, everywhere, make)
    name_layers(model, names, config.layers)
    paths = {id(module): path for path, module in model.named_modules()}
    for name in config.layers:
        if name in places:
            continue
        module = find_module(model, name)
        if not is_linear(module):
            raise FormatError(f"{name} must be a linear layer of the model, not {type(module).__name__}")
        rows, cols = (int(size) for size in module.weight.shape)  # type: ignore[union-attr]
        features = (cols, rows) if is_transposed(module) else (rows, cols)
        packed = _packed_layer(name, config, tensors, features, module.bias is not None, dtype)
        model.set_submodule(paths[id(module)], packed)
    _stand_for_tied(model)
    _mark_as_initialized(model)
    return frozenset(place.path for place in everywhere)


class _Tied(nn.Identity):
    """Stands for a layer that is the packed layer `layer`, while weights are loaded. It has no tensors to load."""

    def __init__(self, layer: HaloLinear) -> None:
        super().__init__()
        object.__setattr__(self, "layer", layer)  # no submodule


def _stand_for_tied(model: Any) -> None:
    """Put a stand-in at the place of every layer whose weight transformers ties to that of a packed layer.

    transformers ties parameters, and the tensors of a packed layer are buffers. So both places get the same module.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    ties: dict[str, str] = model.all_tied_weights_keys
    for pair in ties.items():
        paths = [name.removesuffix(".weight") for name in pair]
        for path, other in (paths, paths[::-1]):
            packed, module = modules.get(path), modules.get(other)
            if isinstance(packed, HaloLinear) and module is not None and is_linear(module):
                model.set_submodule(other, _Tied(packed))

    def is_plain(name: str) -> bool:
        return not isinstance(model.get_submodule(name.rpartition(".")[0]), HaloLinear | _Tied)

    model.all_tied_weights_keys = {k: v for k, v in ties.items() if is_plain(k) and is_plain(v)}


def _mark_as_initialized(model: nn.Module) -> None:
    """Keep transformers from drawing random weights in modules that hold packed layers and nothing of their own.

    Some families read the two sizes of a layer's weight for it, which a packed layer does not have.
    """
    for module in model.modules():
        inside = any(isinstance(child, HaloLinear | _Tied) for child in module.children())
        if inside and not module._parameters and not module._buffers:
            module._is_hf_initialized = True  # type: ignore[assignment]


def _packed_layer(
    name: str,
    config: PackedConfig,
    tensors: dict[str, StoredTensor],
    features: tuple[int, int] | None,
    bias: bool,
    dtype: torch.dtype,
) -> HaloLinear:
    """Return an empty packed layer; `features` is None for an expert, whose sizes are those of its stored grid."""
    stored = {part: tensors[f"{name}.{part}"] for part in (*DENSE, *OPTIONAL) if f"{name}.{part}" in tensors}
    shapes = {part: (getattr(torch, NAMES[tensor.dtype]), tensor.shape) for part, tensor in stored.items()}
    if features is None:
        rows, columns = RawTensor.read(stored["weight_shape"]).data.view("<i4").tolist()[:2]
        features = (rows, columns)
    return HaloLinear(name, config, shapes, features, bias, dtype)


def _check_complete(model: Any, tensors: dict[str, StoredTensor]) -> None:
    """Refuse a model that lacks a tensor; transformers would only warn and fill it with random numbers."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, apply_renamings

    conversions = get_model_conversion_mapping(model)
    renamings = [one for one in conversions if isinstance(one, WeightRenaming)]
    converted = [pattern for one in conversions if isinstance(one, WeightConverter) for pattern in one.target_patterns]
    prefix = f"{model.base_model_prefix}."
    present = set(tensors) | {apply_renamings(name, renamings) for name in tensors}
    present |= {name.removeprefix(prefix) for name in present} | {prefix + name for name in present}
    allowed = set(model.all_tied_weights_keys)
    missing = [
        name
        for name in model.state_dict()
        if name not in present
        and name not in allowed
        and not name.endswith(COMPUTED_TENSORS)
        and not any(re.search(pattern, name) for pattern in converted)
    ]
    if missing:
        raise FormatError(
            f"the packed model must hold every tensor of its class, but lacks {len(missing)}, first {min(missing)}"
        )


def _line(tensor: torch.Tensor, version: int) -> str:
    if tensor.device.type == "meta":
        raise FormatError("a packed model must be in memory to be saved, not offloaded to the disk")
    data = tensor.detach().cpu().contiguous()
    name = str(data.dtype).removeprefix("torch.")
    raw = data.reshape(-1).view(torch.uint8).numpy() if data.numel() else b""
    return line_of_data(SHORT[name], tuple(data.shape), raw, version)


# This runs once, at import, whether the registry of transformers or this module is imported first.
register_quantization_config(METHOD)(HaloConfig)
register_quantizer(METHOD)(HaloQuantizer)
