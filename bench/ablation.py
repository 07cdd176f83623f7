"""Measure what each step of HALO gains on a real model, beside its rivals. Prints JSON and reuses finished rows.

    python bench/ablation.py --text books=BOOKS_TEST --text wikitext2=WIKITEXT2_TEST --calibration BOOKS_VALID \
        [--model FOLDER] [--profile NAME] [--tokens 8192] [--samples 32] [--rows PATTERN ...] [--out FILE]

Perplexity is over windows of the model's length spread evenly over each text, with 8-bit activations (per token) beside
it. `rise` is perplexity less that of full precision on the same windows (the floor), and `rise_se` its standard error
from the differences window by window. Texts must not have been used to calibrate or to tune.
"""

import argparse
import json
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from haloquant.dvfs.classes import Classes, choose_classes
from haloquant.dvfs.operating_points import admissible_values
from haloquant.jobs.inputs import model_folder, read_text
from haloquant.jobs.quantize.allocation import FAST, SLOW, Allocator, build_allocator, class_cost, layer_grids
from haloquant.jobs.quantize.layer_rounding import RoundingSettings, round_layer
from haloquant.jobs.quantize.reference.tile_losses import predict_tile_losses, tile_sensitivities
from haloquant.jobs.quantize.transform import (
    divided_rows,
    input_scale,
    restore_layer,
    scale_layer,
    scale_layer_statistics,
)
from haloquant.lm.calibration.attention_hessian import collect_row_hessians
from haloquant.lm.calibration.in_memory import collect, cut_windows
from haloquant.lm.checkpoint.reader import open_checkpoint, read_weight
from haloquant.lm.evaluation.perplexity import Perplexity, default_window, perplexity
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.lm.export.folding import folds
from haloquant.lm.swap_weights import with_weights
from haloquant.lm.torch_model import load_model
from haloquant.quant.allocation import unflatten
from haloquant.quant.codebook import WeightSample, sample_groups, select_codebook
from haloquant.quant.float16 import round_scales
from haloquant.quant.layer import quantize_weight, quantize_weight_compensated
from haloquant.quant.reference.layer_results import layer_result
from haloquant.quant.reference.scale_search import nearest_codes, search_shared_scales
from haloquant.quant.rivals import gptq
from haloquant.quant.rivals.registry import rival
from haloquant.quant.rounding.refinement import quantize_weight_refined
from haloquant.quant.sensitivity import importance
from haloquant.quant.sparse import no_sparse_weights, split
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.recipe import Recipe, Transform
from haloquant.records import BitCount, Codebook, LayerResult, LayerStatistics, QuantizedWeight, TileMap
from haloquant.store.profiles import find_profile

Made = dict[str, LayerResult]
RIVALS = (
    *("rtn-w8", "rtn-w4-g128", "awq-w4-g128", "gptq-w4-g128", "squeezellm-w4", "spqr-w4", "boa-w4-g128"),
    *(
        "rtn-w3-g128",
        "awq-w3-g128",
        "gptq-w3-g128",
        "squeezellm-w3",
        "squeezellm-w3-sparse",
        "slim-w3-g128",
        "spqr-w3",
        "boa-w3-g128",
    ),
    *("zeroquant-w8", "zeroquant-w4-g128", "zeroquant-local-w4-g128", "zeroquant-lorc8-w4-g128"),
    *("fbquant-w4-g128-r8", "zeroquant-local-w3-g128", "fbquant-w3-g128-r8"),
)
BUDGET = 0.005


def silent(done: int, total: int) -> None:
    """Ignore progress reports."""


@dataclass
class Lab:
    """A model, its calibration statistics, and the evaluation texts."""

    folder: Path
    profile_name: str
    calibration: str
    samples: int
    texts: Mapping[str, str]
    tokens: int
    tile: int

    @cached_property
    def model(self) -> Any:
        return load_model(self.folder)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        checkpoint = open_checkpoint(self.folder)
        return {layer.name: read_weight(checkpoint, layer) for layer in checkpoint.layers}

    @cached_property
    def known(self) -> dict[str, LayerStatistics]:
        tokens = read_text(self.folder, self.calibration, "calibration").tokens
        return collect(self.model, tokens, tuple(self.weights), samples=self.samples)

    @cached_property
    def by_token(self) -> dict[str, LayerStatistics]:
        """Return statistics with the Fisher information of each position; it is less noisy, and k-means uses it."""
        tokens = read_text(self.folder, self.calibration, "calibration").tokens
        return collect(self.model, tokens, tuple(self.weights), samples=self.samples, fisher="token", hessian=False)

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """Return the attention Hessians by head, which BoA needs."""
        tokens = read_text(self.folder, self.calibration, "calibration").tokens
        windows = cut_windows(tokens, default_window(self.model), self.samples)
        return collect_row_hessians(self.model, open_checkpoint(self.folder), windows)

    @cached_property
    def evaluation(self) -> dict[str, np.ndarray]:
        return {name: read_text(self.folder, path, "evaluation").tokens for name, path in self.texts.items()}

    @cached_property
    def sample(self) -> WeightSample:
        pairs = ((w, importance(self.known[name], w.shape[1])) for name, w in self.weights.items())
        return sample_groups(pairs, make_grid(self.tile, self.tile, self.tile, self.tile), per_layer=8)

    @cached_property
    def classes(self) -> Classes:
        asked = Recipe().quantize
        sizes = (("fast", asked.fast_words, asked.fast_loss_db), ("slow", asked.slow_words, asked.slow_loss_db))
        return choose_classes(find_profile(self.profile_name), 0, self.sample, sizes)

    @cached_property
    def grids(self) -> dict[str, Any]:
        return layer_grids({name: w.shape for name, w in self.weights.items()}, self.tile)

    @cached_property
    def allocator(self) -> Allocator:
        losses = predict_tile_losses(self.weights, self.known, self.grids, self.classes, Recipe(), silent)
        return build_allocator(self.grids, losses, class_cost(self.classes, "time"))

    @cached_property
    def bal(self) -> np.ndarray:
        """Return the class of every tile at the knee of the trade-off."""
        return self.allocator.path.at(self.allocator.stop("bal"))

    def free(self, words: int) -> Codebook:
        """Return the best codebook of all values at the base clock, to measure what a restricted set costs."""
        base = self.classes.base
        slack = np.zeros(base.values.size)
        return select_codebook(base.values, self.sample, name="free", point=base.point, slack_s=slack, size=words)

    def score(self, weights: Mapping[str, np.ndarray], text: str, rounded: bool) -> Perplexity:
        """Return the perplexity with these weights; with `rounded` the layers get 8-bit activations."""
        windows = max(1, self.tokens // default_window(self.model))
        with with_weights(self.model, weights):
            hold = activations_per_token(self.model, list(self.weights)) if rounded else nullcontext()
            with hold:
                return perplexity(self.model, self.evaluation[text], max_windows=windows)


Method = Callable[[Lab], Made]


def layerwise(make: Callable[[Lab, str], QuantizedWeight]) -> Method:
    """A method that quantizes each layer independently."""
    return lambda lab: {name: layer_result(make(lab, name)) for name in lab.weights}


def step(words: int, kind: str) -> Method:
    """One step of the ablation with all tiles in one class."""

    def make(lab: Lab, name: str) -> QuantizedWeight:
        books = lab.classes.codebooks[:-1]
        index = SLOW if words == 16 else FAST
        return one_step(lab, name, (books[index],), kind)

    return layerwise(make)


def one_step(lab: Lab, name: str, books: tuple[Codebook, ...], kind: str) -> QuantizedWeight:
    """Quantize a layer with all steps up to the given one."""
    weight, known = lab.weights[name], lab.known[name]
    tiles = uniform_map(name, lab.grids[name], 0)
    matters = importance(known, weight.shape[1])
    if kind in ("max-abs", "per tile", "per channel"):
        if kind == "max-abs":
            reach = np.abs(weight).max(axis=1, keepdims=True) / np.abs(books[0].values.astype(np.float32)).max()
            scale = round_scales(np.repeat(reach, lab.grids[name].across, axis=1))
        else:
            per = "tile" if kind == "per tile" else "channel"
            scale = search_shared_scales(weight, matters, tiles, books, per=per)
        codes = nearest_codes(weight, scale, tiles, books)
        return QuantizedWeight(name, codes, scale, tiles, books, no_sparse_weights(weight.shape[0]))
    budget = 0.0 if "no sparse" in kind or kind == "per channel and tile" else BUDGET
    sparse, _ = split(weight, known, layer=name, budget=budget)
    if kind in ("per channel and tile", "sparse"):
        return quantize_weight(weight, tiles=tiles, codebooks=books, statistics=known, sparse=sparse)
    if kind == "compensated":
        return quantize_weight_compensated(weight, tiles=tiles, codebooks=books, statistics=known, sparse=sparse)
    return quantize_weight_refined(weight, tiles=tiles, codebooks=books, statistics=known, sparse=sparse)


def free(words: int) -> Method:
    """Quantize with all values of the MAC allowed, refinement, and no sparse part."""

    def all_layers(lab: Lab) -> Made:
        book = lab.free(words)
        return {name: layer_result(one_step(lab, name, (book,), "refined, no sparse")) for name in lab.weights}

    return all_layers


def allocated(rule: str, goal: str = "bal") -> Method:
    """Both classes: by least loss at the knee, or with as many fast tiles by another rule."""

    def all_layers(lab: Lab) -> Made:
        classes = lab.allocator.path.at(lab.allocator.stop(goal))  # pyright: ignore[reportArgumentType]
        count = int((classes == FAST).sum())
        if rule == "cumulative":
            classes = paper_rule(lab, count)
        elif rule == "random":
            classes = np.random.default_rng(0).permutation(classes)
        maps = {part.layer: part for part in unflatten(classes, list(lab.grids.items()))}
        return {name: layer_result(refined(lab, name, maps[name])) for name in lab.weights}

    return all_layers


def paper_rule(lab: Lab, count: int) -> np.ndarray:
    """The `count` tiles of least sensitivity are fast: HALO's cumulative rule over all layers together."""
    shapes = {name: w.shape for name, w in lab.weights.items()}
    sensitivities = tile_sensitivities(shapes, lab.known, lab.tile).values()
    scores = np.concatenate([part.ravel() for part in sensitivities])
    classes = np.full(scores.size, SLOW, np.uint8)
    classes[np.argsort(scores, kind="stable")[:count]] = FAST
    return classes


def refined(lab: Lab, name: str, tiles: TileMap) -> QuantizedWeight:
    """HALO as `haloquant run` computes it."""
    return round_layer(lab.weights[name], lab.known[name], tiles, lab.classes, RoundingSettings(BUDGET, True))


def scaled(kind: Transform) -> Method:
    """HALO at the knee with the input scaling of a packed model, which is undone in the returned weights."""

    def all_layers(lab: Lab) -> Made:
        maps = {part.layer: part for part in unflatten(lab.bal, list(lab.grids.items()))}
        places = folds(open_checkpoint(lab.folder))
        scales: dict[str, np.ndarray] = {}
        for place in places:
            read = place.layers
            found = input_scale(kind, place, tuple(lab.weights[x] for x in read), tuple(lab.known[x] for x in read))
            if found is not None:
                scales |= dict.fromkeys(read, found)
        divisors = divided_rows(scales, places)
        made: Made = {}
        for name, weight in lab.weights.items():
            columns, rows = scales.get(name), divisors.get(name)
            known = scale_layer_statistics(lab.known[name], columns, rows)
            rounded = round_layer(
                scale_layer(weight, columns, rows), known, maps[name], lab.classes, RoundingSettings(BUDGET, True)
            )
            result = layer_result(rounded)
            made[name] = replace(result, weight=restore_layer(result.weight, columns, rows), quantized=None)
        return made

    return all_layers


def by_rival(name: str) -> Method:
    """Return the rival method with this name."""

    def all_layers(lab: Lab) -> Made:
        method = rival(name)
        known = lab.by_token if method.by_token else lab.known
        made: Made = {}
        for layer, weight in lab.weights.items():
            more = {"row_hessian": lab.rows.get(layer)} if method.by_head else {}
            made[layer] = method.quantize(weight, known[layer], layer=layer, **more)
        return made

    return all_layers


def equal_bits(width: int, group: int) -> Method:
    """GPTQ with smaller groups, so that it stores as many bits as HALO does."""
    config = gptq.GptqConfig(bits=width, group=group, ranges="searched")
    return lambda lab: {k: gptq.quantize(w, lab.known[k], config, layer=k) for k, w in lab.weights.items()}


def methods() -> dict[str, Method]:
    """Every row of the table."""
    steps = ["max-abs", "per tile", "per channel", "per channel and tile", "sparse", "compensated", "refined"]
    rows = {f"halo-{n} {kind}": step(n, kind) for n in (16, 9) for kind in [*steps, "refined, no sparse"]}
    rows |= {f"halo-{n} any words": free(n) for n in (16, 9)}
    rows |= {f"halo-bal {rule}": allocated(rule) for rule in ("least loss", "cumulative", "random")}
    rows |= {f"halo-bal + {kind}": scaled(kind) for kind in ("smoothquant", "awq")}
    rows |= {name: by_rival(name) for name in RIVALS}
    others = ((4, 64), (3, 64), (4, 32), (3, 32), (3, 24))
    return rows | {f"gptq-w{bits}-g{group}": equal_bits(bits, group) for bits, group in others}


def row(lab: Lab, made: Made, floor: dict[str, Perplexity], plain_only: Container[str] = ()) -> dict[str, object]:
    """Bits, and on each text perplexity, its rise over full precision and the standard error of that.

    Texts in `plain_only` are not evaluated with 8-bit activations as well.
    """
    weights = {name: part.weight for name, part in made.items()}
    figures: dict[str, object] = {}
    if made:
        bits = sum((part.bits for part in made.values()), BitCount())
        figures["bits"] = round(bits.per_weight, 3)
    for text in lab.texts:
        plain = lab.score(weights, text, False)
        base = floor.setdefault(text, plain)
        full = plain.full_windows
        means = plain.nll[full] / plain.scored[full]
        gap = means - base.nll[full] / base.scored[full]
        figures[text] = {
            "perplexity": round(plain.value, 3),
            "rise": round(plain.value - base.value, 3),
            "rise_se": round(base.value * float(gap.std(ddof=1)) / len(gap) ** 0.5, 3) if len(gap) > 1 else None,
            "perplexity_a8": None if text in plain_only else round(lab.score(weights, text, True).value, 3),
            "tokens": int(plain.scored[full].sum()),
            "nll_by_window": [round(x, 5) for x in means.tolist()],  # for differences between any two rows
        }
    return figures


def hardware(lab: Lab) -> dict[str, object]:
    """The codebooks, their clocks and how many values each clock admits."""
    found: dict[str, object] = {}
    for index, book in enumerate(lab.classes.codebooks[:-1]):
        allowed = np.union1d(admissible_values(lab.classes.profile, 0, book.point.period_s * (1 + 1e-12)), 0)
        clock = round(lab.classes.clock_ratio(index), 3)
        found[book.name] = {"words": book.values.tolist(), "clock_ratio": clock, "admissible": int(allowed.size)}
    return found


def main() -> None:
    """Make the rows that are asked for and not yet in the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--calibration", default="demo")
    parser.add_argument("--samples", type=int, default=32, help="windows of the model's length")
    parser.add_argument("--text", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--rows", nargs="*", default=["*"], help="patterns; `halo-9*`")
    parser.add_argument("--out", type=Path, help="finished rows are read from here and written here")
    asked = parser.parse_args()
    texts = dict(pair.split("=", 1) for pair in asked.text)
    folder = model_folder(asked.model)
    lab = Lab(folder, asked.profile, asked.calibration, asked.samples, texts, asked.tokens, asked.tile)
    settings = {k: getattr(asked, k) for k in ("model", "profile", "samples", "tokens", "tile")}
    settings |= {"calibration": Path(asked.calibration).name, "texts": {k: Path(v).name for k, v in texts.items()}}
    kept = json.loads(asked.out.read_text()) if asked.out and asked.out.exists() else {"settings": settings, "rows": {}}
    if kept["settings"] != settings:
        parser.error(f"{asked.out} holds rows of other settings: {kept['settings']}")
    complete(lab, kept, asked.rows, asked.out)
    print(json.dumps({key: part for key, part in kept.items() if key != "rows"}))


def complete(
    lab: Lab, kept: dict[str, Any], patterns: Sequence[str], out: Path | None, plain_only: Container[str] = ()
) -> None:
    """Make the rows that are asked for and not yet among `kept["rows"]`; each is printed, and kept in `out`."""
    wanted = [(n, m) for n, m in methods().items() if any(fnmatch(n, pattern) for pattern in patterns)]
    missing = [(n, m) for n, m in wanted if n not in kept["rows"]]
    if not missing and "full precision" in kept["rows"]:
        return
    floor: dict[str, Perplexity] = {}
    kept["rows"]["full precision"] = row(lab, {}, floor, plain_only)
    print(json.dumps({"full precision": kept["rows"]["full precision"]}), flush=True)
    for name, method in missing:
        kept.setdefault("hardware", hardware(lab))
        kept["rows"][name] = row(lab, method(lab), floor, plain_only)
        if "bal" in name:
            kept["fast_tiles"] = round(float((lab.bal == FAST).mean()), 3)
        print(json.dumps({name: kept["rows"][name]}), flush=True)
        if out:
            out.write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
