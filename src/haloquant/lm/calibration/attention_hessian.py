"""Row Hessians of attention projections (BoA, arXiv 2406.13474): one matrix per head that couples the head's rows.

The matrix weights an error in the rows of a head by its effect on the output of attention:
- for the queries of a head, the sum over tokens of k k^T;
- for the keys of a head, the sum over tokens of q q^T, added over the query heads that share the key head;
- for the values of a head, W_O^T W_O, added over the same query heads.

Queries and keys are the outputs of their projections. The rotary position embedding, which rotates neighbouring tokens
by nearly the same angle, is not applied, nor are softmax and the causal mask.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64

from haloquant.errors import InputError
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.lm.swap_weights import find_module, get_weight
from haloquant.records.layer_names import ATTENTION_OUTPUTS, KEY, QUERY, VALUE

HeadMatrices = Float32[np.ndarray, "heads size size"]


def collect_row_hessians(
    model: Any,
    checkpoint: Checkpoint,
    windows: Int64[np.ndarray, "s t"],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, HeadMatrices]:
    """Return the row Hessians of every head of q_proj, k_proj and v_proj in each block, by layer name.

    Sums over tokens are divided by the number of tokens.

    Args:
        model: the checkpoint's model, loaded.
        checkpoint: its opened folder; the result holds matrices of the projections among its selected layers.
        windows: calibration windows, as `in_memory.cut_windows` returns them.
        progress: called with the number of windows done and of all windows.

    Returns:
        {layer: [heads, head_dim, head_dim]}; `heads` counts query heads for q_proj, key-value heads for k_proj, v_proj.

    Raises:
        InputError: The model has no separate projections for queries, keys and values.
    """
    chosen = {layer.name for layer in checkpoint.layers}
    prefixes = sorted(name.removesuffix(QUERY) for name in chosen if name.endswith(f".{QUERY}"))
    prefixes = [p for p in prefixes if {p + KEY, p + VALUE} <= chosen]
    if not prefixes:
        raise InputError(
            f"row Hessians of attention need layers named {QUERY}, {KEY} and {VALUE}, but "
            f"{checkpoint.folder} ({checkpoint.architecture.model_type}) has none"
        )
    size, kv_heads = checkpoint.architecture.head_dim, checkpoint.architecture.kv_heads
    sums: dict[str, torch.Tensor] = {}

    def hook_for(target: str) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]:
        def hook(_module: torch.nn.Module, _args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            heads = output.detach().float().reshape(-1, output.shape[-1] // size, size)
            products = torch.einsum("thi,thj->hij", heads, heads)
            sums[target] = sums[target] + products if target in sums else products

        return hook

    handles = []
    for prefix in prefixes:
        for source, target in ((KEY, QUERY), (QUERY, KEY)):
            module = find_module(model, prefix + source)
            handles.append(module.register_forward_hook(hook_for(prefix + target)))
    try:
        with torch.inference_mode():
            device = next(model.parameters()).device
            for index, row in enumerate(windows):
                model(input_ids=torch.from_numpy(row[None]).to(device), use_cache=False)
                if progress is not None:
                    progress(index + 1, len(windows))
    finally:
        for handle in handles:
            handle.remove()
    found: dict[str, HeadMatrices] = {}
    for prefix in prefixes:
        queries, keys = (sums[prefix + name].cpu().numpy() / windows.size for name in (QUERY, KEY))
        shared = keys.shape[0] // queries.shape[0]  # query heads per key head
        found[prefix + QUERY] = np.repeat(queries, shared, axis=0)
        found[prefix + KEY] = keys.reshape(kv_heads, shared, size, size).sum(1)
        found[prefix + VALUE] = _value_matrices(model, prefix, size, kv_heads)
    return found


def _value_matrices(model: Any, prefix: str, size: int, kv_heads: int) -> HeadMatrices:
    """Return W_O^T W_O of each value head, summed over the query heads that read it."""
    names = [name for name, _ in find_module(model, prefix.removesuffix(".")).named_children()]
    output = next((name for name in ATTENTION_OUTPUTS if name in names), None)
    if output is None:
        raise InputError(f"row Hessians of values need an output projection beside {prefix}v_proj, but there is none")
    weight = get_weight(model, prefix + output)
    blocks = weight.reshape(weight.shape[0], kv_heads, -1, size)
    return np.einsum("ohsi,ohsj->hij", blocks, blocks)
