"""Rounded activations with fewer bits for the tokens that matter least."""

from typing import Literal

import msgspec

# Which tokens get the low bits: those with the lowest scores; the others are controls of an evaluation.
LowTokens = Literal["lowest", "random", "highest"]


class MixedActivations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the inputs of linear layers are rounded token by token (`lm.attention.token_importance`).

    Attributes:
        bits: bits of the inputs of a token.
        low_bits: bits of the inputs of a token whose score is not above a threshold.
        low_share: share of the tokens with low bits that was asked for.
        thresholds: scores in the order in which the attentions of a model run: the share's quantiles over a sample.
        tokens: tokens of this sample.
    """

    bits: int
    low_bits: int
    low_share: float
    thresholds: tuple[float, ...]
    tokens: int
