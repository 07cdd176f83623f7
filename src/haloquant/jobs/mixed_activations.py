"""Rounded inputs with fewer bits for a share of the tokens, of a loaded model: thresholds from a calibration text."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from haloquant.errors import InputError
from haloquant.jobs.inputs import Progress, is_packed, read_text
from haloquant.jobs.quantize.request import Request
from haloquant.lm.attention.token_importance import TokenClasses, sample_windows, text_windows
from haloquant.lm.evaluation.perplexity import default_window
from haloquant.lm.evaluation.rounded_activations import TokenCounts, activations_by_class, find_mixed_activations
from haloquant.lm.export.trained_scales import export_activations
from haloquant.lm.packed.loading import load
from haloquant.lm.packed.reader import open_packed
from haloquant.lm.quiet_transformers import quiet_transformers
from haloquant.records.mixed_activations import LowTokens, MixedActivations


@dataclass(frozen=True)
class TokenBits:
    """Bits of rounded inputs, and the share of the tokens with fewer.

    Attributes:
        bits: bits of the inputs of a token.
        low_bits: bits of the inputs of a token in low bits.
        low_share: share of these tokens; None takes what a packed model stores, which holds both numbers of bits too.
        low_tokens: which tokens they are.
        calibration: the text, or `demo`, on which the thresholds are found.
    """

    bits: int = 8
    low_bits: int = 4
    low_share: float | None = None
    low_tokens: LowTokens = "lowest"
    calibration: str = "demo"


def check_mixed(folder: Path, asked: TokenBits) -> None:
    """Check before a model is loaded that its thresholds and those that are asked for go together.

    Raises:
        InputError: Both are given, or none is.
    """
    stored = is_packed(folder) and open_packed(folder).config.stored_activations() is not None
    if stored and asked.low_share is not None:
        raise InputError(
            f"low_share must be left out for {folder.name}, which holds thresholds of its own; name the model that it "
            "was made of"
        )
    if not stored and asked.low_share is None:
        raise InputError(f"low_share must be given for {folder.name}, which holds no thresholds of tokens")


def mixed_of_model(
    model: Any, layers: Sequence[str], folder: Path, asked: TokenBits, progress: Progress
) -> tuple[AbstractContextManager[TokenCounts], str]:
    """Return the block within which a loaded model rounds its inputs so, and a sentence on it.

    Args:
        model: a loaded model, plain or packed.
        layers: its linear layers.
        folder: its folder, which holds the tokenizer.
        asked: the bits.
        progress: called with the name of the task, windows done and windows in all.

    Raises:
        RecipeError: The text is missing.
        InputError: The text is too short, or the model's attentions cannot be seen.
    """
    stored = open_packed(folder).config.stored_activations() if is_packed(folder) else None
    where = "by the model's thresholds"
    if stored is None:
        text = read_text(folder, asked.calibration, "calibration")
        stored = find_mixed_activations(
            model, layers, text_windows(text.tokens, default_window(model)), asked.bits, asked.low_bits,
            asked.low_share or 0.0, asked.low_tokens, None,
            lambda done, total: progress("find thresholds of tokens", done, total),
        )  # fmt: skip
        where = f"by thresholds from {stored.tokens} tokens of {text.name}"
    return activations_by_class(model, layers, TokenClasses(stored, asked.low_tokens)), describe_mixed(
        stored, asked.low_tokens, where
    )


def export_with_token_bits(plain: Path, out: Path, request: Request, progress: Progress) -> tuple[int, str]:
    """Write a packed model again with thresholds that choose tokens for low bits, as the recipe of a request asks for.

    Args:
        plain: the packed model without thresholds. It is loaded as a whole.
        out: the folder to write; empty or not there yet.
        request: the settings, with the calibration windows.
        progress: called with the name of the task, windows done and windows in all.

    Returns:
        The stored bits of the thresholds, and a sentence on them.

    Raises:
        InputError: The model's attentions cannot be seen.
    """
    packed, quantize, windows = open_packed(plain), request.recipe.quantize, request.calibration
    if windows is None:
        raise ValueError("thresholds of tokens must have calibration windows")
    with quiet_transformers():
        model = load(plain, dtype=torch.float32).to(request.device)
    found = find_mixed_activations(
        model, packed.config.layers, sample_windows(windows), quantize.activation_bits, quantize.low_bits,
        quantize.low_share, progress=lambda done, total: progress("find thresholds of tokens", done, total),
    )  # fmt: skip
    bits = export_activations(packed, found, out, {})
    return bits, describe_mixed(found, "lowest", f"by thresholds from {found.tokens} tokens of the calibration text")


def describe_mixed(mixed: MixedActivations, low_tokens: LowTokens, where: str) -> str:
    """Return a sentence on rounded inputs; `where` says where their thresholds come from."""
    whose = {
        "lowest": f"the lowest scores, {where}",
        "highest": f"the highest scores, {where}",
        "random": "no regard to their scores, drawn at random",
    }[low_tokens]
    return (
        f"inputs rounded to {mixed.bits} bits, of {mixed.low_share:.0%} of the tokens to {mixed.low_bits}: those with "
        f"{whose}"
    )
