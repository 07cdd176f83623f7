"""Sentences of a text whose tokens leave early, each in its time on a machine."""

from dataclasses import dataclass

import msgspec
import numpy as np
from jaxtyping import Int64

from haloquant.dvfs.sentence_deadline import BlockCosts, sentence_rows, whole_step
from haloquant.errors import InputError
from haloquant.jobs.early_exit.losses import Asked, EarlyExit, Evaluated, ExitThreshold
from haloquant.jobs.inputs import model_folder
from haloquant.lm.text import load_tokenizer

SENTENCE_ENDS = (".", "!", "?", "\n")


@dataclass(frozen=True)
class Deadline:
    """A deadline of `period_s` for one token on a machine, and the power in W from the end of a sentence to its own."""

    target: str
    costs: BlockCosts
    law: str
    period_s: float
    idle_w: float


def exits_under_deadline(model: str, asked: Asked, limit: Deadline, found: Evaluated) -> EarlyExit:
    """Return the result of `evaluate_exits` with the time and energy of the text's sentences.

    Args:
        model: The model that was evaluated.
        asked: What was asked of `evaluate_exits`.
        limit: The deadline and the machine.
        found: What `evaluate_exits` returned.

    Raises:
        InfeasibleError: The deadline is shorter than any step.
        InputError: The machine's model has other blocks than the evaluated one.
    """
    result, exits, windows = found
    count = limit.costs.blocks.shape[1]
    if count != len(result.blocks):
        raise InputError(f"the simulated model must have the evaluated one's {len(result.blocks)} blocks, not {count}")
    lengths = sentence_lengths(model, windows)
    rows: list[ExitThreshold] = []
    for row, tokens in zip(result.thresholds, exits, strict=True):
        flat = tokens.tested.ravel(), tokens.predicted.ravel(), tokens.both.ravel()
        ways = sentence_rows(limit.costs, asked.first_block, flat, lengths, limit.period_s, limit.idle_w)
        rows.append(msgspec.structs.replace(row, deadline=ways))
    return msgspec.structs.replace(
        result,
        thresholds=tuple(rows),
        target=limit.target,
        period_s=limit.period_s,
        whole_step_s=float(whole_step(limit.costs, None)[0]),
        sentences=len(lengths),
        notes=(*result.notes, f"delay at a lower supply, {limit.law}"),
    )


def sentence_lengths(model: str, windows: Int64[np.ndarray, "windows t"]) -> list[int]:
    """Return the numbers of predicted tokens of the sentences of all windows, in order.

    A sentence ends with a token that ends with a full stop, an exclamation or question mark, or a new line; and with
    its window. The first token of a window is not predicted.
    """
    tokenizer = load_tokenizer(model_folder(model))
    ends = {int(i) for i in np.unique(windows) if tokenizer.decode([int(i)]).rstrip(" ").endswith(SENTENCE_ENDS)}
    lengths: list[int] = []
    for window in windows.tolist():
        length = 0
        for token in window[1:]:
            length += 1
            if token in ends:
                lengths.append(length)
                length = 0
        if length:
            lengths.append(length)
    return lengths
