"""Rules by which transformers combines tensors while it loads a model, without the experts that are packed.

transformers stacks the matrices of all experts into one parameter. In a packed model these experts are layers of their
own, so their tensors must keep their names.
"""

from collections.abc import Iterable
from typing import Any

from transformers.core_model_loading import WeightConverter


class _OthersOnly(WeightConverter):
    """A rule that leaves out the tensors of modules at given paths."""

    __slots__ = ("paths",)

    paths: frozenset[str]

    def rename_source_key(self, source_key: str) -> tuple[str, str | None]:
        """Return the renamed key and the pattern that matched, or the same key and None for a module left out."""
        if source_key.rpartition(".")[0] in getattr(self, "paths", ()):
            return source_key, None
        return super().rename_source_key(source_key)


def packed_conversions(rules: Iterable[Any], paths: frozenset[str], prefix: str) -> list[Any]:
    """Return the rules, so that none changes a tensor of a module at one of the paths.

    Args:
        rules: rules of transformers.
        paths: paths of modules in the model.
        prefix: prefix of the model within the causal language model; a checkpoint may leave it out.
    """
    if not paths:
        return list(rules)
    both = paths | {path.removeprefix(f"{prefix}.") for path in paths}
    changed: list[Any] = []
    for rule in rules:
        if not isinstance(rule, WeightConverter):
            changed.append(rule)
            continue
        sources, targets = rule._original_source_patterns, rule._original_target_patterns
        other = _OthersOnly(list(sources), list(targets), operations=list(rule.operations))
        other.scope_prefix, other.base_model_prefix = rule.scope_prefix, rule.base_model_prefix
        other.paths = both
        changed.append(other)
    return changed
