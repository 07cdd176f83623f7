"""Table 2 on a model with weights: the paper's rows, with its method as it is described, and its bits beside ours.

The MAC is the paper's. Weights are rounded per channel without groups where the paper does so; activations are in
8 bits, one scale for each token. ZeroQuant-Global is left out: it rounds layer after layer on another weight.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from haloquant.jobs.compare.accuracy import measure_accuracy
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_steps import finish_methods, full_precision, halo_method, rival_method
from haloquant.jobs.compare.result_rows import fast_fraction
from haloquant.jobs.inputs import Progress, read_inputs
from haloquant.jobs.paper.energy_claims import PAPER_MAC
from haloquant.jobs.paper.fair_machines import CLOCKS_HZ
from haloquant.lm.checkpoint.reader import read_weight
from haloquant.quant.rivals.registry import rival
from haloquant.quant.rivals.rtn import RtnConfig
from haloquant.quant.rivals.rtn import quantize as round_to_nearest
from haloquant.recipe import Goal, Hardware, Model, Quantize, Recipe, Text
from haloquant.records import LayerStatistics
from haloquant.report.paper.rows import ClaimRow, Verdict
from haloquant.store.paper_figures import effective_bits, read_perplexities, read_statements, rise
from haloquant.store.profiles import find_profile

# Rows of the table, and the presets that make them.
RIVALS = {
    "rtn-w8a8": "rtn-w8",
    "rtn-w4a8": "rtn-w4",
    "rtn-w3a8": "rtn-w3",
    "gptq-w4a8": "gptq-w4",
    "zeroquant-local-w4a8": "zeroquant-local-w4-g128",
}
SMOOTHED = {"smoothquant-w8a8": 8, "smoothquant-w4a8": 4, "smoothquant-w3a8": 3}
VARIANTS: tuple[tuple[Goal, int], ...] = (
    ("perf-opt", 128),
    ("acc-opt", 128),
    ("bal", 128),
    ("bal", 64),
    ("bal", 32),
)
PAPER_MODEL, PAPER_TEXT = "llama2-7b", "wikitext2"  # whose column the rows stand beside


@dataclass(frozen=True)
class ModelRow:
    """One row of the table on our model. `paper_bits` counts 3 and 4 bits a class, as the paper does."""

    method: str
    tile: int
    perplexity: float
    stored_bits: float
    paper_bits: float


def model_table(model: str, text: str, folder: Path, progress: Progress) -> list[ModelRow]:
    """Return every row on a model; full precision comes first.

    Args:
        model: A model folder, or `demo`.
        text: An evaluation text, or `demo`.
        folder: Folder for finished steps; a rerun finds them there.
        progress: Called with the name of a task, its parts done and its parts in all.
    """
    rows: list[ModelRow] = []
    for tile in dict.fromkeys(tile for _, tile in VARIANTS):
        goals: tuple[Goal, ...] = tuple(goal for goal, at in VARIANTS if at == tile)
        job = _job(_recipe(model, text, tile, goals), folder, progress)
        steps = {f"halo {goal}": halo_method(job, f"halo-{goal}", job.allocator.goal_maps(goal)) for goal in goals}
        if not rows:
            steps |= {"fp16": full_precision(job)}
            steps |= {name: rival_method(job, preset, preset) for name, preset in RIVALS.items()}
        found = finish_methods(job, steps)
        first = not rows
        for name in ("fp16", *RIVALS) if first else ():
            made = found[name]
            width = 16.0 if name == "fp16" else float(getattr(rival(RIVALS[name]).config, "bits", 0))
            rows.append(ModelRow(name, 0, made.accuracy.final_perplexity, made.bits.per_weight, width))
        if first:
            rows += _smoothed(model, text, folder, progress)
        for goal in goals:
            made = found[f"halo {goal}"]
            bits = 4.0 - fast_fraction(made.tiles)
            row = ModelRow(f"halo {goal}", tile, made.accuracy.final_perplexity, made.bits.per_weight, bits)
            rows.append(row)
    return rows


def model_rows(model: str, table: list[ModelRow]) -> list[ClaimRow]:
    """Return the claims of table 2 on our model, from its table."""
    printed = {(row.method.split(" (")[0], row.tile): row for row in read_perplexities() if row.text == PAPER_TEXT}
    full, limit = table[0].perplexity, read_statements()["perplexity-rise"].value
    rows: list[ClaimRow] = []
    for row in table[1:]:
        theirs = rise(printed[row.method, row.tile]).get(PAPER_MODEL) if (row.method, row.tile) in printed else None
        ours = row.perplexity - full
        halo = row.method.startswith("halo")
        verdict: Verdict = "not judged" if not halo else "reproduced" if ours < limit else "not reproduced"
        where = f" at tile {row.tile}" if row.tile else ""
        why = (
            f"perplexity {row.perplexity:.2f} over {full:.2f} at {row.stored_bits:.2f} stored bits"
            + (f", which the paper counts as {row.paper_bits:.2f}" if halo else "")
            + f"; the paper's column is {PAPER_MODEL}"
        )
        claim = f"{model}: rise of perplexity by {row.method}{where}"
        rows.append(ClaimRow("table 2", claim, "perplexity", theirs, ours, None, verdict, why))
    return [*rows, _small_tiles(model, table), _knee(model, table)]


def _small_tiles(model: str, table: list[ModelRow]) -> ClaimRow:
    bal = {row.tile: row for row in table if row.method == "halo bal"}
    large, small = bal[128], bal[32]
    better, fewer = small.perplexity < large.perplexity, small.stored_bits < large.stored_bits
    verdict: Verdict = "reproduced" if better and fewer else "partly" if better or fewer else "not reproduced"
    why = (
        f"tile 32: perplexity {small.perplexity:.2f} at {small.stored_bits:.2f} stored bits ({small.paper_bits:.2f} "
        f"the paper's way); tile 128: {large.perplexity:.2f} at {large.stored_bits:.2f} ({large.paper_bits:.2f}). A "
        "tile of 32 has a scale for every 32 weights, so it rounds better and stores four times the scales"
    )
    printed = {row.tile: row for row in read_perplexities() if row.method == "halo bal" and row.text == PAPER_TEXT}
    theirs = printed[32].perplexity[PAPER_MODEL] / printed[128].perplexity[PAPER_MODEL]
    claim = f"{model}: tiles of 32 are more accurate at fewer bits (perplexity over that of tiles of 128)"
    return ClaimRow("table 2", claim, "ratio", theirs, small.perplexity / large.perplexity, None, verdict, why)


def _knee(model: str, table: list[ModelRow]) -> ClaimRow:
    bal = next(row for row in table if (row.method, row.tile) == ("halo bal", 128))
    published = effective_bits("bal", 128)
    low, high = min(published.values()), max(published.values())
    verdict: Verdict = "reproduced" if low <= bal.paper_bits <= high else "partly"
    why = (
        f"the knee of predicted loss over time on the path of the paper's rule; the paper's four models have {low:g} "
        f"to {high:g} bits, from perplexities of whole models"
    )
    claim = f"{model}: effective bits of bal, the knee of figure 9"
    return ClaimRow("table 2", claim, "bits", published[PAPER_MODEL], bal.paper_bits, None, verdict, why)


def _recipe(model: str, text: str, tile: int, goals: tuple[Goal, ...]) -> Recipe:
    fast_hz, slow_hz = CLOCKS_HZ
    return Recipe(
        model=Model(path=model),
        text=Text(evaluation=text),
        hardware=Hardware(
            profile=PAPER_MAC,
            targets=("paper_tpu",),
            gpus=(),
            tile=tile,
            clocks_ghz=(fast_hz / 1e9, slow_hz / 1e9),
        ),
        quantize=Quantize(goals=goals, rivals=(), method="paper", sweep=()),
    )


def _job(recipe: Recipe, folder: Path, progress: Progress) -> JobSteps:
    return JobSteps(recipe, read_inputs(recipe), find_profile(recipe.hardware.profile), folder, progress)


def _smoothed(model: str, text: str, folder: Path, progress: Progress) -> list[ModelRow]:
    """Return SmoothQuant with rounding to nearest per channel. Inputs that nothing before can scale are left."""
    recipe = _recipe(model, text, 128, ("bal",))
    replaced = msgspec.structs.replace(recipe.quantize, transform="smoothquant")
    job = _job(msgspec.structs.replace(recipe, quantize=replaced), folder, progress)
    scales, layers = job.passes.scales, job.inputs.checkpoint.layers
    weights = {layer.name: read_weight(job.inputs.checkpoint, layer) for layer in layers}
    rows: list[ModelRow] = []
    for name, bits in SMOOTHED.items():
        made = {layer: round_scaled(layer, weight, scales.get(layer), bits) for layer, weight in weights.items()}

        def tell(done: int, total: int, name: str = name) -> None:
            progress(f"evaluate {name}", done, total)

        accuracy = measure_accuracy(job.model, made, job.inputs.evaluation.tokens, recipe, tell, scales)
        stored = bits + 16.0 * sum(w.shape[0] for w in weights.values()) / sum(w.size for w in weights.values())
        rows.append(ModelRow(name, 0, accuracy.final_perplexity, stored, float(bits)))
    return rows


def round_scaled(layer: str, weight: np.ndarray, scale: np.ndarray | None, bits: int) -> np.ndarray:
    """Return the weight for the unscaled input, rounded per output channel at the scaled input."""
    factor = np.ones(weight.shape[1], np.float32) if scale is None else scale.astype(np.float32)
    config = RtnConfig(bits=bits, group=None, scheme="symmetric")
    made = round_to_nearest(weight * factor, LayerStatistics(layer, 0), config, layer=layer)
    return made.weight / factor
