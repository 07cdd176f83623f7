"""Names of the experts of a mixture: a GGUF file stacks their matrices, a checkpoint has a tensor for each expert.

transformers keeps gate and up of all experts in one parameter [experts, 2 out, in]. It reads checkpoints that have one
tensor for each matrix, under names of the family.
"""

import re
from collections.abc import Mapping

from haloquant.records.layer_names import EXPERTS

_STACKED = re.compile(r"(.+\.mlp)\.experts\.(gate_up_proj|down_proj)")
_STORED = re.compile(r"blk\.(\d+)\.ffn_(gate|up|down)_exps\.weight")
_STORED_ALONE = re.compile(r"blk\.(\d+)\.ffn_(gate|up|down)\.(\d+)\.weight")


def checkpoint_shapes(model_type: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a checkpoint's tensors from those of the model's parameters, by name."""
    family = EXPERTS.get(model_type)
    if family is None:
        return dict(shapes)
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        match = _STACKED.fullmatch(name)
        if match is None:
            found[name.replace(".mlp.", f".{family.mixture}.")] = shape
            continue
        owner = match[1].removesuffix("mlp") + family.mixture
        experts, rows, cols = shape
        inner = {family.down: (rows, cols)}
        if match[2] == "gate_up_proj":
            inner = {family.gate: (rows // 2, cols), family.up: (rows // 2, cols)}
        for expert in range(experts):
            found |= {f"{owner}.experts.{expert}.{leaf}.weight": size for leaf, size in inner.items()}
    return found


def expert_names(model_type: str, stored: str, experts: int) -> list[str] | None:
    """Return the names of the experts whose matrices a tensor of a file holds; None for other tensors.

    Args:
        model_type: the family, as transformers names it.
        stored: name of the tensor in the file.
        experts: the number of experts.
    """
    family = EXPERTS.get(model_type)
    if family is None:
        return None
    whole, alone = _STORED.fullmatch(stored), _STORED_ALONE.fullmatch(stored)  # files of 2024 and before: one each
    match = whole or alone
    if match is None:
        return None
    owner = f"model.layers.{match[1]}.{family.mixture}.experts"
    numbers = range(experts) if alone is None else [int(alone[3])]
    return [f"{owner}.{number}.{getattr(family, match[2])}.weight" for number in numbers]
