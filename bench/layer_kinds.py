"""Measure, for each kind of layer, whether a method beats rounding to nearest in perplexity. Prints JSON.

    python bench/layer_kinds.py --model FOLDER --calibration TEXT --text TEXT [--profile NAME] [--window 1024] \
        [--samples 12] [--windows 6] [--kinds PATTERN ...] [--methods PATTERN ...] [--out FILE]

A row quantizes the layers of one kind (`v_proj`, `down_proj`, ... or `all`) and leaves the rest in full precision.
`rise` is the mean loss in nats per token less that of full precision on the same windows (the floor); `rise_se` is its
standard error from the differences window by window. `layer_loss` is the squared output error of the layers, relative
to the output's own. Finished rows are read from --out again, so a stopped run continues.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import numpy as np

from haloquant.dvfs.classes import choose_classes
from haloquant.jobs.inputs import model_folder, read_text
from haloquant.jobs.quantize.allocation import FAST, SLOW
from haloquant.lm.calibration.in_memory import collect
from haloquant.lm.calibration.statistics_file import load_statistics, save_statistics
from haloquant.lm.checkpoint.reader import open_checkpoint, read_weight
from haloquant.lm.evaluation.perplexity import perplexity
from haloquant.lm.swap_weights import with_weights
from haloquant.lm.torch_model import load_model
from haloquant.quant.codebook import sample_groups
from haloquant.quant.hessian import layer_hessian, output_loss
from haloquant.quant.layer import quantize_weight, quantize_weight_compensated
from haloquant.quant.reference.layer_results import layer_result
from haloquant.quant.rivals.registry import rival
from haloquant.quant.rounding.refinement import quantize_weight_refined
from haloquant.quant.sensitivity import importance
from haloquant.quant.sparse import split
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.recipe import Recipe
from haloquant.records import BitCount, Codebook, LayerResult, LayerStatistics
from haloquant.store.profiles import find_profile

KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "all")
RIVALS = ("rtn-w4-g128", "gptq-w4-g128", "gptq-w4-g128-sparse", "rtn-w3-g128", "gptq-w3-g128", "gptq-w3-g64-sparse")
Method = Callable[[np.ndarray, LayerStatistics, str], LayerResult]


def halo(books: tuple[Codebook, ...], step: str, budget: float) -> Method:
    """HALO with all tiles in one class, up to a step: nearest, compensated or refined."""

    def make(weight: np.ndarray, known: LayerStatistics, layer: str) -> LayerResult:
        tiles = uniform_map(layer, make_grid(*weight.shape), 0)
        sparse, _ = split(weight, known, layer=layer, budget=budget)
        round_ = {
            "nearest": quantize_weight,
            "compensated": quantize_weight_compensated,
            "refined": partial(quantize_weight_refined, share=1.0),
        }[step]
        return layer_result(round_(weight, tiles=tiles, codebooks=books, statistics=known, sparse=sparse))

    return make


def methods(weights: Mapping[str, np.ndarray], known: Mapping[str, LayerStatistics], profile: str) -> dict[str, Method]:
    """Every method by name."""
    found: dict[str, Method] = {}
    for name in RIVALS:
        chosen = rival(name)
        found[name] = lambda weight, seen, layer, chosen=chosen: chosen.quantize(weight, seen, layer=layer)
    asked = Recipe().quantize
    pairs = ((w, importance(known[name], w.shape[1])) for name, w in weights.items())
    sample = sample_groups(pairs, make_grid(128, 128), per_layer=8)
    classes = choose_classes(find_profile(profile), 0, sample, asked.class_sizes())
    for words, index in ((16, SLOW), (9, FAST)):
        books = (classes.codebooks[index],)
        for step in ("nearest", "compensated", "refined"):
            found[f"halo-{words} {step}"] = halo(books, step, asked.sparse_budget)
    return found


def main() -> None:
    """Make the rows that are asked for and not yet in the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--calibration", default="demo")
    parser.add_argument("--text", default="demo")
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--kinds", nargs="*", default=["*"])
    parser.add_argument("--methods", nargs="*", default=["*"])
    parser.add_argument("--values", nargs="*", default=["attention", "inputs"], help="Hessians of value projections")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    folder = model_folder(asked.model)
    checkpoint, model = open_checkpoint(folder), load_model(folder)
    weights = {layer.name: read_weight(checkpoint, layer) for layer in checkpoint.layers}
    rows: dict[str, object] = json.loads(asked.out.read_text()) if asked.out and asked.out.is_file() else {}
    calibration = read_text(folder, asked.calibration, "calibration").tokens
    text = read_text(folder, asked.text, "evaluation").tokens

    def score(changed: Mapping[str, np.ndarray]) -> np.ndarray:
        with with_weights(model, changed):
            found = perplexity(model, text, asked.window, max_windows=asked.windows)
        return found.nll[found.full_windows] / found.scored[found.full_windows]

    def keep(key: str, row: object) -> None:
        rows[key] = row
        if asked.out:
            asked.out.write_text(json.dumps(rows, indent=1))

    if "full precision" not in rows:
        floor = score({})
        keep("full precision", {"perplexity": round(float(np.exp(floor.mean())), 3), "nll_by_window": floor.tolist()})
    floor = np.array(rows["full precision"]["nll_by_window"])  # type: ignore[call-overload, index]
    for values in asked.values:
        file = None if asked.out is None else asked.out.with_suffix(f".{values}.safetensors")
        if file is not None and file.is_file():
            known = load_statistics(file)
        else:
            known = collect(
                model, calibration, tuple(weights), asked.window, asked.samples, fisher="none", value_hessian=values
            )
            if file is not None:
                save_statistics(file, known)
        table = methods(weights, known, asked.profile)
        for kind in KINDS:
            if not any(fnmatch(kind, p) for p in asked.kinds) or (values == "inputs" and kind not in ("v_proj", "all")):
                continue
            chosen = [name for name in weights if kind == "all" or name.endswith(kind)]
            for name, method in table.items():
                key = f"{kind} {name}" + ("" if values == "attention" else " (values: inputs)")
                if key in rows or not chosen or not any(fnmatch(name, p) for p in asked.methods):
                    continue
                made = {layer: method(weights[layer], known[layer], layer) for layer in chosen}
                gap = score({layer: part.weight for layer, part in made.items()}) - floor
                bits = sum((part.bits for part in made.values()), BitCount())
                lost = [_relative_loss(weights[layer], made[layer].weight, known[layer]) for layer in chosen]
                row = {
                    "bits": round(bits.per_weight, 3),
                    "rise": round(float(gap.mean()), 4),
                    "rise_se": round(float(gap.std(ddof=1)) / len(gap) ** 0.5, 4),
                    "layer_loss": float(f"{np.mean(lost):.4g}"),
                    "nll_by_window": [round(float(x), 5) for x in gap + floor],
                }
                keep(key, row)
    print(json.dumps(rows, indent=1))


def _relative_loss(weight: np.ndarray, rounded: np.ndarray, known: LayerStatistics) -> float:
    hessian = layer_hessian(known, method="the loss of a layer")
    return output_loss(weight - rounded, hessian) / output_loss(weight, hessian)


if __name__ == "__main__":
    main()
