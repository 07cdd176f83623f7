"""Recipes: everything `haloquant run` needs to know, as one frozen record read from TOML."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from haloquant.errors import MALFORMED, InputError, RecipeError
from haloquant.store.atomic_files import read_bounded

MOST = (1 << 31) - 1  # of tokens, rows, seeds: below what any array index may overflow at
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Decibel = Annotated[float, msgspec.Meta(ge=0.0, le=200.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
Goal = Literal["perf-opt", "bal", "acc-opt"]
ActivationMode = Literal["token", "tensor", "none"]
Transform = Literal["none", "smoothquant", "awq"]

DEFAULT_RIVALS = (
    "rtn-w8",
    "rtn-w4-g128",
    "gptq-w4-g128",
    "gptq-w3-g128",
    "squeezellm-w4",
    "squeezellm-w3",
)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of a recipe's sections: unknown keys are refused with their path."""


class Model(Section, frozen=True):
    """Which model: `demo` (shipped) or a Hugging Face folder on this machine.

    Layers whose name matches a regular expression of `exclude` stay in full precision.
    """

    path: str = "demo"
    exclude: tuple[str, ...] = ()


class Text(Section, frozen=True):
    """Which text calibrates and which judges; `demo` is the shipped one. Tokens 0 means the whole text."""

    calibration: str = "demo"
    calibration_tokens: Natural = 8192
    evaluation: str = "demo"
    evaluation_tokens: Natural = 8192


class Hardware(Section, frozen=True):
    """The MAC (`default`, a shipped profile's name or a file), the machines, the tile and the timing margin.

    `targets` are simulated systolic arrays; `gpus` are graphics processors as rooflines, modelled beside them.
    """

    profile: str = "default"
    targets: tuple[str, ...] = ("paper_tpu", "edge_lpddr5x")
    gpus: tuple[str, ...] = ("gpu_2080ti", "h200")
    tile: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)] = 128
    margin: Fraction = 0.0


class Quantize(Section, frozen=True):
    """What is made: HALO's goals, the rivals beside them, the sparse budget and the sizes of the two codebooks.

    A class gets the fastest clock at which its best codebook loses at most `*_loss_db` against the best words of any.
    """

    goals: tuple[Goal, ...] = ("perf-opt", "bal", "acc-opt")
    rivals: tuple[str, ...] = DEFAULT_RIVALS
    activations: ActivationMode = "token"
    sparse_budget: Fraction = 0.005
    fast_words: Annotated[int, msgspec.Meta(ge=2, le=9)] = 9
    slow_words: Annotated[int, msgspec.Meta(ge=2, le=16)] = 16
    fast_loss_db: Decibel = 2.5
    slow_loss_db: Decibel = 1.0
    compensate: bool = True
    refine: Share = 0.5  # of the tiles, those that lose most, are visited again after compensation
    transform: Transform = "none"  # of the layers' inputs, before HALO's rounding; folded into what makes them
    sweep: tuple[Share, ...] = (0.33, 0.67)  # further points of the Pareto front, as shares of its length


class Workload(Section, frozen=True):
    """What is simulated: a prefill of so many tokens, and one decode step at a batch and context."""

    prefill_tokens: Positive = 256
    decode_batch: Positive = 1
    decode_context: Positive = 256
    shapes: str = "model"  # or a named shape such as `llama2-7b`, whose classes are drawn in this model's proportions


class Recipe(Section, frozen=True):
    """A whole job."""

    seed: Natural = 0
    model: Model = Model()
    text: Text = Text()
    hardware: Hardware = Hardware()
    quantize: Quantize = Quantize()
    workload: Workload = Workload()


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a TOML file.

    Raises:
        RecipeError: the file is missing, is not TOML, or holds an unknown key or a value out of range.
    """
    try:
        data = read_bounded(path, 1 << 20)
    except InputError as error:
        raise RecipeError(f"{error}; `haloquant run --example` prints a recipe to start from") from error
    return parse_recipe(data, str(path))


def parse_recipe(data: bytes, source: str) -> Recipe:
    """Return the recipe in TOML text; `source` names it in errors."""
    try:
        return msgspec.toml.decode(data, type=Recipe)
    except MALFORMED as error:
        raise RecipeError(f"{source} must be a haloquant recipe in TOML: {error}") from error


def example_recipe() -> str:
    """The default recipe as TOML text, every key written out."""
    return msgspec.toml.encode(Recipe()).decode()
