"""Early exit of a decoder by entropy: its losses on a text, and the table that predicts exits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float64, Int64

from haloquant.dvfs.sentence_deadline import SentenceRow
from haloquant.errors import InputError
from haloquant.jobs.evaluation import open_model
from haloquant.jobs.inputs import Progress, model_folder, model_window, read_text, silent
from haloquant.jobs.recovery import overlaps
from haloquant.lm.calibration.empty_model import decoder_blocks
from haloquant.lm.checkpoint.hub import origin
from haloquant.lm.checkpoint.model_config import read_config
from haloquant.lm.evaluation.early_exit import BlockPredictions, leave_early, predict_by_block
from haloquant.lm.evaluation.exit_table import ExitTable, covered_share, exit_blocks, make_exit_table
from haloquant.lm.evaluation.perplexity import whole_windows

SAME_TEXT = (
    "the calibration text is part of the judging text, or the other way round: the table is judged on what made it"
)


class Rise(msgspec.Struct, frozen=True):
    """A rise of the loss over that of all blocks, nats per token; `error` is its standard error.

    It is the mean of the paired differences window by window. `error` is None with a single window.
    """

    nats: float
    error: float | None


class ExitBlock(msgspec.Struct, frozen=True):
    """The prediction after one block, for all tokens: its mean entropy and its loss, in nats per token."""

    block: int
    entropy: float
    loss: float
    rise: Rise


class ExitThreshold(msgspec.Struct, frozen=True):
    """Early exit at one threshold of entropy.

    Attributes:
        threshold: nats.
        exits: share of tokens that leave after each block, the entropy being read after each; states copied.
        mean_blocks: mean blocks of a token, states copied.
        rise_known: rise of the loss if keys and values of skipped blocks were known, which is an assumption.
        rise: rise of the loss with copied states, as a decoder would run.
        covered: share of tokens whose exit, predicted by the table after the first entropy, is at or after the true
            one; None if no token needs a prediction.
        covered_after: the same for predictions after each block but the last.
        predicted_blocks: mean blocks if tokens leave at the predicted exit.
        predicted_rise: rise of the loss then, states copied.
        tested_blocks: mean blocks if they leave at the predicted exit or earlier by their entropy, as in EdgeBERT.
        tested_rise: rise of the loss then, states copied.
        deadline: time and energy of sentences under the deadline, by way of running; None without one.
    """

    threshold: float
    exits: tuple[float, ...]
    mean_blocks: float
    rise_known: Rise
    rise: Rise
    covered: float | None
    covered_after: tuple[float | None, ...]
    predicted_blocks: float
    predicted_rise: Rise
    tested_blocks: float
    tested_rise: Rise
    deadline: tuple[SentenceRow, ...] | None = None


class EarlyExit(msgspec.Struct, frozen=True):
    """The result of `early_exit`. Losses are in nats per token, blocks are counted from 1.

    `target`, `period_s` (time of one token), `whole_step_s` (time of all blocks at full clock) and `sentences` are None
    without a deadline.
    """

    model: str
    text: str
    calibration: str
    windows: int
    window: int
    first_block: int
    blocks: tuple[ExitBlock, ...]
    thresholds: tuple[ExitThreshold, ...]
    notes: tuple[str, ...]
    target: str | None = None
    period_s: float | None = None
    whole_step_s: float | None = None
    sentences: int | None = None


@dataclass(frozen=True)
class TokenExits:
    """The exit block of every token [windows, tokens], from 1: by tests, by the table, and by both."""

    tested: Int64[np.ndarray, "windows tokens"]
    predicted: Int64[np.ndarray, "windows tokens"]
    both: Int64[np.ndarray, "windows tokens"]


@dataclass(frozen=True)
class Asked:
    """What is asked: thresholds in nats, the block after which an entropy is read first, and the table's coverage.

    `tokens` is the number of tokens of the judging text that are used; 0 takes all.
    """

    thresholds: tuple[float, ...]
    first_block: int
    coverage: float
    tokens: int


# What `evaluate_exits` returns: losses, the exit of every token at each threshold, and the windows [windows, t].
Evaluated = tuple[EarlyExit, list[TokenExits], np.ndarray]


def evaluate_exits(
    model: str, text: str, calibration: str, asked: Asked, device: str = "cpu", progress: Progress = silent
) -> Evaluated:
    """Return losses with early exit, the exit of every token at each threshold, and the windows of the text.

    Args:
        model: A model folder, plain or packed, or `demo`.
        text: The judging text, or `demo`.
        calibration: The text that makes the table, or `demo`.
        asked: Thresholds and the rest.
        device: Where the model computes.
        progress: Called with the name of a task, windows done and in total.

    Raises:
        CheckpointError: There is no such model, or it is malformed.
        InputError: A text is missing or has no whole window, the model has no head of its own, or it has no block after
            `first_block`.
    """
    folder = model_folder(model)
    read_config(folder)  # a folder without a model is reported before its tokenizer is
    length = model_window(folder)
    made_by, judged_by = read_text(folder, calibration, "calibration"), read_text(folder, text, "evaluation")
    what = "a text for early exit"
    makers, windows = (whole_windows(one.tokens, length, asked.tokens, what, one.name) for one in (made_by, judged_by))
    loaded = open_model(folder, device=device)
    count = len(decoder_blocks(loaded.model, loaded.layers))
    if not asked.first_block < count:
        raise InputError(f"first_block must be below the model's {count} blocks, not {asked.first_block}")
    known = predict_by_block(loaded.model, loaded.layers, windows, lambda *at: progress("read entropies", *at))
    seen = predict_by_block(loaded.model, loaded.layers, makers, lambda *at: progress("calibrate the table", *at))
    full = known.nll[:, -1]
    blocks = tuple(
        ExitBlock(b + 1, float(known.entropy[:, b].mean()), float(known.nll[:, b].mean()), _rise(known.nll[:, b], full))
        for b in range(count)
    )
    rows, exits = [], []
    for threshold in asked.thresholds:
        table = make_exit_table(seen.entropy, threshold, asked.coverage)
        row, tokens = _threshold(loaded.model, loaded.layers, windows, known, table, asked.first_block, progress)
        rows.append(row)
        exits.append(tokens)
    notes = (*loaded.notes, *((SAME_TEXT,) if overlaps(calibration, text) else ()))
    name = "demo" if model == "demo" else origin(folder) or folder.name
    found = EarlyExit(
        name, judged_by.name, made_by.name, len(windows), length, asked.first_block, blocks, tuple(rows), notes
    )
    return found, exits, windows


def _threshold(
    model: Any,
    layers: Sequence[str],
    windows: np.ndarray,
    known: BlockPredictions,
    table: ExitTable,
    first: int,
    progress: Progress,
) -> tuple[ExitThreshold, TokenExits]:
    threshold, count, full = table.threshold_nats, known.entropy.shape[1], known.nll[:, -1]

    def run(how: str, limit: float | None, latest: np.ndarray | None) -> Any:
        task = f"{how} at {threshold:g} nats"
        return leave_early(model, layers, windows, limit, latest, first, lambda *at: progress(task, *at))

    ideal = exit_blocks(known.entropy, threshold, first)
    nll = np.take_along_axis(known.nll, ideal[:, None] - 1, axis=1)[:, 0]
    predicted = table.predict(first, known.entropy[:, first - 1])
    tested, forced = run("leave by entropy", threshold, None), run("leave as predicted", None, predicted)
    both = run("leave as predicted or earlier", threshold, predicted)
    row = ExitThreshold(
        threshold,
        tuple((np.bincount(tested.blocks.ravel(), minlength=count + 1)[1:] / tested.blocks.size).tolist()),
        float(tested.blocks.mean()),
        _rise(nll, full),
        _rise(tested.nll, full),
        covered_share(table, known.entropy, first),
        tuple(covered_share(table, known.entropy, block) for block in range(1, count)),
        float(forced.blocks.mean()),
        _rise(forced.nll, full),
        float(both.blocks.mean()),
        _rise(both.nll, full),
    )
    return row, TokenExits(tested.blocks, forced.blocks, both.blocks)


def _rise(nll: Float64[np.ndarray, "windows t"], full: Float64[np.ndarray, "windows t"]) -> Rise:
    """Return the mean difference of two losses, with its standard error over windows."""
    differences = (nll - full).mean(axis=1)
    count = len(differences)
    return Rise(float(differences.mean()), float(differences.std(ddof=1)) / count**0.5 if count > 1 else None)
