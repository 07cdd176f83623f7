"""Generate tokens one by one, greedily, and time them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn

from haloquant.errors import InputError
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.lm.packed.token_head import RoundedHead

PROBE_BYTES = 1 << 28  # an array that no cache holds
PROBES = 5


@dataclass(frozen=True)
class TimedTokens:
    """Generated tokens, the seconds of the prompt's pass, and those of all later passes, one per token.

    The prompt's pass gives the first token. Each later pass gives one more, so there is one token more than passes.
    """

    tokens: tuple[int, ...]
    prompt_s: float
    decode_s: float


def generate(
    model: Any, prompt: Int64[np.ndarray, " t"], count: int, clock: Callable[[], float] = time.perf_counter
) -> TimedTokens:
    """Return `count` + 1 tokens, each the most likely one after those before it. The end of a text is not heeded.

    Args:
        model: A loaded causal language model.
        prompt: Tokens that it reads first.
        count: Number of passes that are timed, each of one token.
        clock: Returns seconds.
    """
    device = next(model.parameters()).device
    tokens: list[int] = []

    def run(given: torch.Tensor, past: Any) -> tuple[torch.Tensor, Any]:
        found = model(input_ids=given, past_key_values=past, use_cache=True)
        chosen = found.logits[:, -1:].argmax(-1)
        tokens.append(int(chosen))  # waits for the device
        return chosen, found.past_key_values

    with torch.inference_mode():
        begin = clock()
        last, past = run(torch.from_numpy(prompt)[None].to(device), None)
        middle = clock()
        for _ in range(count):
            last, past = run(last, past)
        end = clock()
    return TimedTokens(tuple(tokens), middle - begin, end - middle)


def bytes_per_token(model: Any) -> int:
    """Return the bytes of all matrices that one token multiplies, as they are in memory; all experts are counted.

    Raises:
        InputError: The model has no such matrix.
    """
    total = 0
    for module in model.modules():
        if isinstance(module, HaloLinear):
            total += module.layer().bytes
        elif isinstance(module, RoundedHead) and module.weight.device.type == "cpu":
            total += sum(tensor.numel() * tensor.element_size() for tensor in module.rounded())
        elif not isinstance(module, nn.Embedding):
            own = (p for p in module.parameters(recurse=False) if p.ndim >= 2)
            total += sum(parameter.numel() * parameter.element_size() for parameter in own)
    if not total:
        raise InputError("the model must have linear layers, and it has none")
    return total


def read_rate_b_per_s(device: torch.device) -> float:
    """Return the bytes per second at which this device reads a large array; the best of five passes."""
    data, best = torch.ones(PROBE_BYTES // 4, dtype=torch.float32, device=device), float("inf")
    for _ in range(PROBES):
        begin = time.perf_counter()
        float(data.max())
        best = min(best, time.perf_counter() - begin)
    return PROBE_BYTES / best
