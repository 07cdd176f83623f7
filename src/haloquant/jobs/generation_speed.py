"""Measure how fast a model generates tokens on this machine, and for how much energy."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from haloquant.accel.platforms import memory_bound_tok_s, words_per_battery
from haloquant.errors import InputError
from haloquant.jobs.energy_counters import EnergyCounter, gpu_counters, names_of, processor_counters
from haloquant.jobs.evaluation import Dtype, WholeActivations, open_model
from haloquant.jobs.inputs import Progress, model_folder, read_text, silent, text_file
from haloquant.lm.devices import describe_device
from haloquant.lm.evaluation.perplexity import default_window
from haloquant.lm.generation import TimedTokens, bytes_per_token, generate, read_rate_b_per_s
from haloquant.lm.text import load_text

PROMPT_TOKENS = 16
NOT_MEASURED = "energy is not measured: no counter of this machine can be read; give the mean power with --watts"


@dataclass(frozen=True)
class GenerationSpeed:
    """What a model reached on this machine, beside what its memory allows.

    Attributes:
        model: the model.
        device: the processor, or the graphics processor.
        dtype: type in which it computes.
        activations: whether packed layers multiply their inputs as they are, or rounded to 8 bits.
        head_bits: bits of the head's weights; 16 as they are stored.
        tokens: tokens that each repetition timed, after the prompt's pass.
        repeats: repetitions.
        threads: threads of torch.
        tok_s: median tokens per second.
        tok_s_least: the slowest repetition.
        tok_s_most: the fastest repetition.
        prompt_s: median seconds of the pass over the prompt.
        read_b: bytes that one token reads at least: all matrices as stored.
        read_b_per_s: rate at which this machine read a large array in this run.
        memory_bound_tok_s: `read_b_per_s` over `read_b`: no faster without a cache.
        energy_source: the counters that were read, "given" for a given power, or "" if energy is not known.
        watts: mean power while tokens were generated; None if it is not known.
        tok_per_j: tokens per joule; None if it is not known.
        words_per_token: words per token of the text.
        battery_words: words that the battery generates; None without a battery or energy.
        predicted_tok_s: tokens per second of the simulated machines, by name.
        notes: sentences for the user.
    """

    model: str
    device: str
    dtype: Dtype
    tokens: int
    repeats: int
    threads: int
    tok_s: float
    tok_s_least: float
    tok_s_most: float
    prompt_s: float
    read_b: int
    read_b_per_s: float
    memory_bound_tok_s: float
    energy_source: str
    watts: float | None
    tok_per_j: float | None
    words_per_token: float
    battery_words: float | None
    activations: WholeActivations = "float"
    head_bits: int = 16
    predicted_tok_s: Mapping[str, float] = field(default_factory=dict[str, float])
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Repetitions:
    """The repetitions of a measurement: their tokens with times, and the joules of all together (None: not known)."""

    runs: tuple[TimedTokens, ...]
    energy_j: float | None


def measure_generation(
    model: str,
    tokens: int,
    repeats: int,
    pause_s: float,
    watts: float | None,
    battery_j: float | None,
    dtype: Dtype,
    device: str,
    progress: Progress = silent,
    activations: WholeActivations = "float",
    head_bits: int = 16,
) -> GenerationSpeed:
    """Return the median rate of `repeats` generations of `tokens` tokens, after one that is not counted.

    Args:
        model: A model folder, plain or packed, or `demo`.
        tokens: Tokens that are timed in each repetition.
        repeats: Number of repetitions.
        pause_s: Seconds of rest before each repetition, so that the machine cools down.
        watts: Mean power of the machine, in place of counters; None reads the counters.
        battery_j: Energy of a battery; None for no battery.
        dtype: The floating-point type in which the model computes.
        device: Where it computes.
        progress: Called with the name of the task, repetitions done and in all.
        activations: As in `jobs.evaluation.open_model`.
        head_bits: The same.

    Raises:
        CheckpointError: The model folder is missing or malformed.
        InputError: A plain model would have to multiply integers, or the prompt and the tokens are more than the
            model's context.
    """
    folder = model_folder(model)
    text = read_text(folder, "demo", "evaluation")
    loaded = open_model(folder, dtype, device, head_bits, activations).model
    window = default_window(loaded)
    if tokens + 1 > window - PROMPT_TOKENS:
        raise InputError(
            f"tokens must be at most {window - PROMPT_TOKENS - 1} for this model, whose context of {window} also holds "
            f"a prompt of {PROMPT_TOKENS}, not {tokens}"
        )
    at = torch.device(device)
    counters = () if watts is not None else _counters(at)
    prompt = np.ascontiguousarray(text.tokens[:PROMPT_TOKENS], np.int64)
    done = repeat(lambda: generate(loaded, prompt, tokens), repeats, pause_s, counters, progress)
    rates = [tokens / run.decode_s for run in done.runs]
    seconds = sum(run.prompt_s + run.decode_s for run in done.runs)
    power = watts if watts is not None else None if done.energy_j is None else done.energy_j / seconds
    rate, read_b, read_rate = float(np.median(rates)), bytes_per_token(loaded), read_rate_b_per_s(at)
    tok_per_j = None if power is None else rate / power
    words = len(load_text(text_file("demo", "evaluation")).split()) / len(text.tokens)
    battery_words = None
    if tok_per_j is not None and battery_j is not None:
        battery_words = words_per_battery(tok_per_j, battery_j, words)
    return GenerationSpeed(
        model=model,
        device=describe_device(device),
        dtype=dtype,
        activations=activations,
        head_bits=head_bits,
        tokens=tokens,
        repeats=repeats,
        threads=torch.get_num_threads(),
        tok_s=rate,
        tok_s_least=min(rates),
        tok_s_most=max(rates),
        prompt_s=float(np.median([run.prompt_s for run in done.runs])),
        read_b=read_b,
        read_b_per_s=read_rate,
        memory_bound_tok_s=memory_bound_tok_s(float(read_b), read_rate),
        energy_source="given" if watts is not None else names_of(counters),
        watts=power,
        tok_per_j=tok_per_j,
        words_per_token=words,
        battery_words=battery_words,
        notes=() if power is not None else (NOT_MEASURED,),
    )


def repeat(
    once: Callable[[], TimedTokens],
    repeats: int,
    pause_s: float,
    counters: Sequence[EnergyCounter],
    progress: Progress = silent,
    sleep: Callable[[float], None] = time.sleep,
) -> Repetitions:
    """Generate once without counting, then `repeats` times; the energy is that of these times, pauses left out."""
    once()
    runs: list[TimedTokens] = []
    energy_j = 0.0
    for done in range(repeats):
        sleep(pause_s)
        before = [counter.read() for counter in counters]
        runs.append(once())
        energy_j += sum(counter.since(start) for counter, start in zip(counters, before, strict=True))
        progress("generate", done + 1, repeats)
    return Repetitions(tuple(runs), energy_j if counters else None)


def _counters(device: torch.device) -> tuple[EnergyCounter, ...]:
    """Return the counters of the processor, and of the graphics processor that computes."""
    return processor_counters() if device.type == "cpu" else gpu_counters(device.index or 0)
