"""A recipe: all settings of `haloquant run`, as one frozen record that is read from TOML."""

import re
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from haloquant.accel.workload.prefill_decode import MOST_SEQUENCES, MOST_TOKENS
from haloquant.errors import MALFORMED, InputError, RecipeError
from haloquant.quant.input_sparsity.levels import InputAllocation
from haloquant.quant.input_sparsity.scores import MOST_SPARSITY
from haloquant.records import CalibrationDtype, ValueHessian
from haloquant.records.tiles import CLASS_WORDS
from haloquant.store.atomic_files import read_bounded

MOST = (1 << 31) - 1  # largest number of tokens, rows or seeds: no array index overflows below it
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)]
Sequences = Annotated[int, msgspec.Meta(ge=1, le=MOST_SEQUENCES)]
Decibel = Annotated[float, msgspec.Meta(ge=0.0, le=200.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
Margin = Annotated[float, msgspec.Meta(ge=0.0, le=0.99)]  # at most: a clock of a hundredth
Goal = Literal["perf-opt", "bal", "acc-opt"]
# Activations with one scale per token, or one per layer fixed by calibration ("tensor"), or not rounded; "mixed" gives
# the tokens that matter least fewer bits.
ActivationMode = Literal["token", "tensor", "mixed", "none"]
Transform = Literal["none", "smoothquant", "awq"]
Basis = Literal["static", "sensitised"]
Method = Literal["haloquant", "paper"]
CostOf = Literal["time", "energy", "edp"]
COST_WORDS = "time, energy, edp, simulated:TARGET or measured:FILE"
# Of the MAC, or of a decode step on a machine: simulated, or by a table that `measure-ops` wrote.
CostSource = Annotated[str, msgspec.Meta(pattern=r"^(time|energy|edp|simulated:.+|measured:.+)$")]
Level = Literal["tile", "layer"]
Limit = Annotated[float, msgspec.Meta(ge=0.0, le=1e15)]  # 0: no budget
Refine = Share | Literal["auto"]
Gigahertz = Annotated[float, msgspec.Meta(gt=0.0, le=1000.0)]
Sparsity = Annotated[float, msgspec.Meta(ge=0.0, le=MOST_SPARSITY)]
Weight = Annotated[float, msgspec.Meta(ge=0.0, le=100.0)]

DEFAULT_RIVALS = (
    "rtn-w8",
    "rtn-w4-g128",
    "gptq-w4-g128",
    "gptq-w3-g128",
    "squeezellm-w4",
    "squeezellm-w3",
)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base class of a recipe's sections. An unknown key is an error that names its path."""


class Model(Section, frozen=True):
    """The model: `demo` (it comes with the package) or a folder in Hugging Face format on this machine.

    Layers whose name matches a regular expression of `exclude` stay in full precision.
    """

    path: str = "demo"
    exclude: tuple[str, ...] = ()


class Text(Section, frozen=True):
    """The texts for calibration and for evaluation; `demo` comes with the package.

    Tokens are rounded down to whole windows of the model, one at least. 0 tokens means the whole text.
    """

    calibration: str = "demo"
    calibration_tokens: Natural = 8192
    evaluation: str = "demo"
    evaluation_tokens: Natural = 8192


MOST_TILE = 1 << 16  # rows and columns; larger tiles than layers are padding alone


class Hardware(Section, frozen=True):
    """The MAC, the machines, the tile size and the timing margin.

    `profile` is `default`, the name of a profile that comes with the package, or a file. `targets` are systolic arrays
    that are simulated; `gpus` are graphics processors that are modelled as rooflines. `margin` is the share of every
    clock period that is kept free, 0.99 at most. `delay_basis` is the delay that sets clocks: `static` (the longest
    path with the weight as a constant, safe for all activations) or `sensitised` (the longest that a simulated
    activation transition toggled). `clocks_ghz` gives the clocks of the fast and of the slow class, whose words are
    then those that meet them; empty, each class gets its clock from its loss (`quantize.*_loss_db`).
    """

    profile: str = "default"
    targets: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("paper_tpu", "edge_lpddr5x")
    gpus: tuple[str, ...] = ("gpu_2080ti", "h200")
    tile: Annotated[int, msgspec.Meta(ge=1, le=MOST_TILE)] = 128
    margin: Margin = 0.0
    delay_basis: Basis = "static"
    clocks_ghz: Annotated[tuple[Gigahertz, ...], msgspec.Meta(max_length=2)] = ()

    def __post_init__(self) -> None:
        """Check that there are no clocks or two, the first above the second."""
        if self.clocks_ghz and not (len(self.clocks_ghz) == 2 and self.clocks_ghz[0] > self.clocks_ghz[1]):
            given = ", ".join(f"{clock:g}" for clock in self.clocks_ghz)
            raise ValueError(
                f"clocks_ghz must be the clock of the fast class, then a lower one of the slow, not {given}"
            )


class Budget(Section, frozen=True):
    """What *bal* may use; 0 sets no limit. With a limit, *bal* is the least predicted loss within all of them.

    `bits_per_weight` are the stored bits of the quantized layers: codes, scales, classes and sparse part. `time_s` and
    `energy_j` are those of all quantized layers in one decode step, by `quantize.cost` (simulated or measured). `level`
    gives a class to every tile, or one class to all tiles of a layer.
    """

    bits_per_weight: Limit = 0.0
    time_s: Limit = 0.0
    energy_j: Limit = 0.0
    level: Level = "tile"

    @property
    def limited(self) -> bool:
        """Whether anything is limited."""
        return bool(self.bits_per_weight or self.time_s or self.energy_j)


class Quantize(Section, frozen=True):
    """What is quantized: HALO's goals, the rivals to compare with, the sparse budget, and the sizes of the codebooks.

    `sparse_budget` is the largest share of the weights that are kept in 8 bits outside the tiles; only outliers and
    salient weights are kept. `activations` and `activation_bits` say how the inputs of the layers are rounded in the
    second perplexity of every method; an 8-bit MAC multiplies narrower ones in the same time. With `mixed`, a share
    `low_share` of the tokens has `low_bits` instead: those with the lowest scores (`lm.attention.token_importance`).
    The packed model holds the thresholds. `refine` is the share of the tiles, those with the largest loss, that are
    refined after compensation; it needs `compensate`. `auto` refines half of the tiles of a layer in which a tile has
    fewer than 16 words. The rivals rtn-w8 and rtn-w4-g128-sym are in every table, as w8a8 and w4a8. A rival's name
    holds its settings, such as gptq-w4-g64 or smoothquant-w8-a85 (`quant.rivals.registry`).

    There are two classes, fast and slow. Each class gets the fastest clock at which its best codebook is at most
    `*_loss_db` dB worse than the best codebook of that size with no timing limit.

    `method` is `haloquant`, or `paper`: the HALO paper's algorithm as it is described (`quant.paper_method`), with
    rounding to nearest and classes by the cumulated sensitivity of each layer. `energy_weight` is the weight of
    switching energy beside the error when words are chosen. `cost` is what *bal* trades against the loss: `time`,
    `energy` or `edp` of the MAC, or the time of a decode step on a machine (`simulated:TARGET`, or `measured:FILE` with
    a table that `haloquant measure-ops` wrote). The MAC's time is the same for all tiles, while its energy is that of
    the weights that a tile holds. So where all tiles are full, the MAC's costs give the same classes. `budget` limits
    what *bal* may use.

    With `input_sparsity`, a token of HALO's models leaves out the inputs of layers whose scores are below thresholds
    (`quant.input_sparsity`). The second perplexity is then that of tokens which all do so, and the packed model does it
    with generated tokens. `input_allocation` divides the share among the layers.
    """

    goals: Annotated[tuple[Goal, ...], msgspec.Meta(min_length=1)] = ("perf-opt", "bal", "acc-opt")
    rivals: tuple[str, ...] = DEFAULT_RIVALS
    activations: ActivationMode = "token"
    activation_bits: Annotated[int, msgspec.Meta(ge=2, le=8)] = 8
    low_share: Share = 0.5
    low_bits: Annotated[int, msgspec.Meta(ge=2, le=7)] = 4
    sparse_budget: Fraction = 0.005
    prune_to_zero: Fraction = 0.0  # share of each output's weights, those that matter least, that get the word 0
    fast_words: Annotated[int, msgspec.Meta(ge=2, le=9)] = CLASS_WORDS[0]
    slow_words: Annotated[int, msgspec.Meta(ge=2, le=16)] = CLASS_WORDS[1]
    fast_loss_db: Decibel = 2.5
    slow_loss_db: Decibel = 1.0
    compensate: bool = True
    refine: Refine = "auto"
    value_hessian: ValueHessian = "attention"  # Hessian of value projections: weighted by attention, or of the inputs
    calibration_dtype: CalibrationDtype = "float32"  # type of products in calibration; sums over tokens are float32
    method: Method = "haloquant"
    kept_share: Share = 0.95  # method paper, acc-opt: the share of each layer's sensitivity in slow tiles
    energy_weight: Weight = 0.0
    cost: CostSource = "time"
    transform: Transform = "none"  # scales the layers' inputs before HALO's rounding; folded into earlier layers
    input_sparsity: Sparsity = 0.0  # share of the multiply-accumulates that a generated token does without
    input_allocation: InputAllocation = "uniform"  # the same share in each layer, or where predictions change least
    sweep: tuple[Share, ...] = (0.33, 0.67)  # further points of the Pareto front, as shares of its length
    budget: Budget = Budget()

    def class_sizes(self) -> tuple[tuple[str, int, float], ...]:
        """Return (name, number of words, allowed loss in dB) of the two classes, fastest first."""
        return (("fast", self.fast_words, self.fast_loss_db), ("slow", self.slow_words, self.slow_loss_db))


class Workload(Section, frozen=True):
    """What is simulated: a prefill of `prefill_tokens`, and one decode step at a batch size and a context length.

    `shapes` is `model` for the model's own sizes, or a named shape such as `llama2-7b`. The tiles of a named shape are
    drawn at random, with the shares of classes that this model has.
    """

    prefill_tokens: Tokens = 256
    decode_batch: Sequences = 1
    decode_context: Tokens = 256
    shapes: str = "model"


class Recipe(Section, frozen=True):
    """All settings of a job."""

    seed: Natural = 0
    device: str = "auto"  # on which torch computes: auto, cpu, cuda, cuda:NUMBER, cuda:all or GPUs with commas
    model: Model = Model()
    text: Text = Text()
    hardware: Hardware = Hardware()
    quantize: Quantize = Quantize()
    workload: Workload = Workload()


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a TOML file.

    Raises:
        RecipeError: The file is missing or empty, is not TOML, or holds an unknown key or a value out of range.
    """
    try:
        data = read_bounded(path, 1 << 20)
    except InputError as error:
        raise RecipeError(f"{error}; `haloquant run --example` prints a recipe to start from") from error
    if not data.strip():  # Most likely a copy that failed; the demo job needs no file.
        raise RecipeError(
            f"{path} must hold a recipe, but is empty; `haloquant run --example` prints one to start from"
        )
    return parse_recipe(data, str(path))


def parse_recipe(data: bytes, source: str) -> Recipe:
    """Return the recipe in TOML text; `source` names the text in errors.

    Raises:
        RecipeError: The text is not TOML, or holds an unknown key or a value out of range.
    """
    try:
        return msgspec.toml.decode(data, type=Recipe)
    except MALFORMED as error:
        allowed = _allowed(str(error)) if isinstance(error, msgspec.ValidationError) else ""
        raise RecipeError(f"{source} must be a haloquant recipe in TOML: {error}{allowed}") from error


def parse_recipe_json(text: str) -> Recipe:
    """Return the recipe in JSON text, as results hold it.

    Raises:
        RecipeError: The text is not a recipe of this version.
    """
    try:
        return msgspec.json.decode(text, type=Recipe)
    except MALFORMED as error:
        raise RecipeError(f"the results must hold the recipe that they were made with: {error}") from error


def checked_recipe(recipe: Recipe) -> Recipe:
    """Return a recipe that was made in Python, after the checks that a recipe in TOML passes.

    Raises:
        RecipeError: It holds a value of another type or out of range.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(recipe), type=Recipe)
    except (*MALFORMED, TypeError) as error:
        allowed = _allowed(str(error)) if isinstance(error, msgspec.ValidationError) else ""
        raise RecipeError(f"the recipe must hold values of its keys' types: {error}{allowed}") from error


def _allowed(error: str) -> str:
    """Return what is allowed at the place that an error of msgspec names: words, or keys; empty for other errors."""
    place = re.search(r"at `\$([^`]*)`", error)
    kind: Any = Recipe
    for key in re.findall(r"[a-z_]+", place[1]) if place else ():
        kind = get_type_hints(kind)[key]  # without the limits of numbers
    if "matching regex" in error:
        return f"; it must be {COST_WORDS}"
    if "unknown field" in error:
        return f"; the keys there are {', '.join(kind.__struct_fields__)}"
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    if "enum value" in error and get_origin(kind) is Literal:
        return f"; it must be one of {', '.join(get_args(kind))}"
    if "enum value" in error and get_origin(kind) in (Union, UnionType):
        words = [word for part in get_args(kind) if get_origin(part) is Literal for word in get_args(part)]
        return f"; it must be a number, or {', '.join(words)}"
    return ""


def example_recipe() -> str:
    """Return the default recipe as TOML text, with every key."""
    return msgspec.toml.encode(Recipe()).decode()
