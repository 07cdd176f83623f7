"""Statistics for experts that few calibration tokens reached: the mean over the experts of the same layer.

A router sends each token to a few of a layer's experts, so some experts see few tokens or none. The Hessian of so few
tokens says little. Such an expert is rounded with the mean of the statistics of all experts of its layer that have the
same place in it, weighted by their tokens. `source` of the statistics says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from haloquant.lm.checkpoint.linear_layers import expert_family
from haloquant.records import LayerStatistics

FEW_SHARE = 0.25
"""An expert has few tokens if it saw fewer than this share of the number of its inputs."""


def few_tokens(tokens: int, in_features: int) -> bool:
    """Return whether an expert's own statistics say too little, so that the stand-in is used."""
    return tokens < FEW_SHARE * in_features


def with_stand_ins(known: Mapping[str, LayerStatistics], widths: Mapping[str, int]) -> dict[str, LayerStatistics]:
    """Return the statistics with the mean of the layer's experts for every expert that saw few tokens.

    The number of tokens stays that of the expert. Experts of a layer that no token reached stay without statistics.

    Args:
        known: statistics of layers by name.
        widths: in_features of each layer.
    """
    families: dict[str, list[str]] = {}
    for name in known:
        family = expert_family(name)
        if family is not None:
            families.setdefault(family, []).append(name)
    result = dict(known)
    for members in families.values():
        poor = [name for name in members if few_tokens(known[name].tokens, widths[name])]
        seen = [known[name] for name in members if known[name].tokens]
        if not poor or not seen:
            continue
        mean = _mean(seen)
        for name in poor:
            source = f"{seen[0].source}; {known[name].tokens} tokens reached this expert, so the mean of {len(seen)}"
            result[name] = replace(mean, layer=name, tokens=known[name].tokens, source=f"{source} experts stands in")
    return result


def _mean(seen: Sequence[LayerStatistics]) -> LayerStatistics:
    """Return the mean of statistics, weighted by tokens; of the largest inputs, the largest."""
    total = sum(part.tokens for part in seen)

    def weighted(name: str) -> np.ndarray | None:
        arrays = [getattr(part, name) for part in seen]
        if any(array is None for array in arrays):
            return None
        result = np.zeros_like(arrays[0])
        for part, array in zip(seen, arrays, strict=True):
            result += np.float32(part.tokens / total) * array
        return result

    largest = [part.input_absmax for part in seen if part.input_absmax is not None]
    return replace(
        seen[0],
        fisher=weighted("fisher"),
        hessian=weighted("hessian"),
        input_absmean=weighted("input_absmean"),
        input_absmax=np.maximum.reduce(largest) if largest else None,
    )
