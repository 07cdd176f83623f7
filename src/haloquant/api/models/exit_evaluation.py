"""Early exit of a decoder by the entropy of its predictions, and a deadline per sentence."""

from collections.abc import Sequence
from pathlib import Path

from haloquant.accel.workload.prefill_decode import MOST_TOKENS
from haloquant.api.arguments import check_count, check_range, path_text
from haloquant.api.machines.inputs import check_deadline, open_on
from haloquant.api.progress import Progress, reporting
from haloquant.dvfs.sentence_deadline import check_step
from haloquant.errors import InputError
from haloquant.jobs.early_exit.block_costs import block_costs
from haloquant.jobs.early_exit.losses import Asked, EarlyExit, evaluate_exits
from haloquant.jobs.early_exit.sentences import Deadline, exits_under_deadline
from haloquant.jobs.inputs import model_folder, model_window
from haloquant.lm.devices import find_device

MOST_NATS = 100.0  # the entropy of any vocabulary is far below


def early_exit(
    model: str | Path,
    text: str | Path = "demo",
    *,
    entropy: float | Sequence[float],
    calibration: str | Path = "demo",
    first_block: int = 1,
    coverage: float = 0.9,
    tokens: int = 0,
    period_s: float | None = None,
    target: str | Path = "edge_lpddr5x",
    profile: str | Path = "default",
    idle_w: float = 0.2,
    context_tokens: int = 0,
    fast_share: float = 0.8,
    device: str = "auto",
    progress: Progress = True,
) -> EarlyExit:
    """Measure what a decoder loses where tokens leave after the first block that is sure, and what that saves.

    The hidden states after each block pass the model's own final norm and head. A token leaves after the first block
    where the entropy of this prediction is below a threshold. A table that is made from another text predicts the exit
    from the first entropy (EdgeBERT, arXiv 2011.14203). With `period_s`, a simulated machine runs each token's decode
    step: the first blocks at full clock, then the predicted rest at the lowest clock that is in time.

    Args:
        model: Model folder, plain or packed, or "demo" for the shipped model.
        text: Text (.txt, .xz) that judges, or "demo" for the shipped evaluation text.
        entropy: Threshold in nats, or several.
        calibration: Text that makes the table, or "demo" for the shipped calibration text.
        first_block: The block after which an entropy is read first.
        coverage: Share of calibration tokens, 0 to 1, that have left by the predicted exit.
        tokens: Number of tokens of either text to use, rounded down to whole windows (one at least); 0 uses all.
        period_s: Time of one token in s; a sentence of n tokens has n times as much. None simulates no machine.
        target: The machine, as in `simulate`; only with `period_s`.
        profile: The MAC, as in `simulate`; it must have been measured at three voltages at least.
        idle_w: Power in W from the end of a sentence to its deadline.
        context_tokens: Tokens in the cache at a decode step; 0 is the model's window.
        fast_share: As in `simulate`.
        device: Where the model computes, as in `evaluate`.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        The loss after each block, and for each threshold exits, losses with their standard errors, and how often the
        table was right; with `period_s` also time and energy of the text's sentences, by way of running.

    Raises:
        InputError: An argument is not allowed, a text has no whole window, or the model has no head of its own.
        InfeasibleError: The profile has fewer than three voltages, or the deadline is shorter than any step.
        MissingExtraError: torch or transformers is not installed.

    Example:
        ```python
        from haloquant.api import early_exit

        for row in early_exit("demo", entropy=[0.5, 1.0, 2.0]).thresholds:
            print(f"{row.threshold} nats: {row.mean_blocks:.2f} blocks, {row.rise.nats:+.4f} nats per token")
        ```
    """
    shown = reporting(progress)
    name, judge, maker = path_text("model", model), path_text("text", text), path_text("calibration", calibration)
    check_count("first_block", first_block, 1)
    check_range("coverage", coverage, 0.0, 1.0)
    check_count("tokens", tokens, 0)
    check_count("context_tokens", context_tokens, 0, MOST_TOKENS)
    asked = Asked(_thresholds(entropy), first_block, coverage, tokens)
    place, limit = find_device(device), None
    with shown as report:
        if period_s is not None:
            check_deadline(period_s, idle_w)
            check_range("the share of fast tiles", fast_share, 0.0, 1.0)
            folder = model_folder(name)
            machine, loaded = open_on(name, target, profile, fast_share)
            costs, law = block_costs(loaded, machine, context_tokens or model_window(folder))
            check_step(costs, first_block, period_s, idle_w)
            limit = Deadline(machine.name, costs, law, period_s, idle_w)
        else:
            _check_unused(target=target != "edge_lpddr5x", profile=profile != "default", idle_w=idle_w != 0.2,
                          context_tokens=context_tokens != 0, fast_share=fast_share != 0.8)  # fmt: skip
        found = evaluate_exits(name, judge, maker, asked, place, report)
        return found[0] if limit is None else exits_under_deadline(name, asked, limit, found)


def _check_unused(**given: bool) -> None:
    """Refuse settings of a machine where none is simulated.

    Raises:
        InputError: One of them is given.
    """
    for name in (name for name, is_given in given.items() if is_given):
        raise InputError(f"{name} must come with period_s (--ms), the time of one token on a simulated machine")


def _thresholds(entropy: object) -> tuple[float, ...]:
    """Return one threshold or several as numbers.

    Raises:
        InputError: One is not above 0 and at most `MOST_NATS`, or there is none.
    """
    values: list[object] = [*entropy] if isinstance(entropy, Sequence) and not isinstance(entropy, str) else [entropy]
    if not values:
        raise InputError("entropy must be at least one threshold in nats, not none")
    found: list[float] = []
    for value in values:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= MOST_NATS:
            raise InputError(f"entropy must be a threshold above 0 and up to {MOST_NATS:g} nats, not {value!r:.80}")
        found.append(float(value))
    return tuple(found)
