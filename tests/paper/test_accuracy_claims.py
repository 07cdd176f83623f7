"""Table 2 and the results section on the demo model: its own text calibrates, a text that nobody trained on judges.

Each test names table or text, the paper's number, ours and the verdict. HALO is rounded as this package rounds; rows by
the paper's own rounding come from `haloquant paper --model` (`docs/paper.md`).

Samples are small so that this runs anywhere; `docs/results.md` has the larger ones. Differences are taken window by
window on the same windows, since perplexity itself spreads far more between windows than between methods.
"""

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.inputs import read_inputs
from haloquant.jobs.quantize.allocation import FAST, SLOW, layer_grids
from haloquant.lm.calibration import by_block
from haloquant.lm.checkpoint.reader import LinearLayer, read_weight
from haloquant.lm.evaluation.perplexity import Perplexity, perplexity
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.lm.swap_weights import with_weights
from haloquant.quant.reference.layer_results import layer_result
from haloquant.quant.rivals.registry import rival
from haloquant.quant.rounding.refinement import quantize_weight_refined
from haloquant.quant.tiles import uniform_map
from haloquant.recipe import Recipe, Text
from haloquant.records import BitCount, LayerResult, LayerStatistics
from haloquant.store.paper_figures import read_perplexities, read_statements
from haloquant.store.paper_figures import rise as paper_rise
from haloquant.store.profiles import find_profile
from support.draws import ALL

pytestmark = [pytest.mark.slow, pytest.mark.thinned]
RECIPE = Recipe(text=Text(calibration_tokens=4096 if ALL else 2048, evaluation_tokens=4096))


class Table:
    """The demo model's rows, made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.bench = JobSteps(RECIPE, read_inputs(RECIPE), find_profile("default"), folder, lambda task, d, t: None)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """The weights of all layers."""
        checkpoint = self.bench.inputs.checkpoint
        return {layer.name: read_weight(checkpoint, layer) for layer in checkpoint.layers}

    @cached_property
    def statistics(self) -> dict[str, LayerStatistics]:
        """The statistics of all layers, as the job's passes collect them."""
        windows = self.bench.request.calibration
        assert windows is not None
        return {layer.name: known for layer, known in by_block.collect_by_block(self.bench.inputs.checkpoint, windows)}

    @cached_property
    def full(self) -> Perplexity:
        """Full precision."""
        return self.score({})

    def score(self, made: Mapping[str, LayerResult]) -> Perplexity:
        """Perplexity with 8-bit activations, for a MAC is claimed; full precision without."""
        model, tokens = self.bench.model, self.bench.inputs.evaluation.tokens
        with with_weights(model, {name: part.weight for name, part in made.items()}):
            if not made:
                return perplexity(model, tokens, max_windows=16)
            with activations_per_token(model, list(made)):
                return perplexity(model, tokens, max_windows=16)

    def halo(self, words: int) -> dict[str, LayerResult]:
        """All tiles in the class of 16 or of 9 words, compensated and refined, nothing sparse."""
        book = self.bench.classes.codebooks[SLOW if words == 16 else FAST]
        grids = layer_grids(self.bench.shapes, 128)
        return {
            name: layer_result(
                quantize_weight_refined(
                    weight,
                    tiles=uniform_map(name, grids[name], 0),
                    codebooks=(book,),
                    statistics=self.statistics[name],
                )
            )
            for name, weight in self.weights.items()
        }

    def bal(self) -> dict[str, LayerResult]:
        """The knee of the sweep over classes, with the sparse part."""
        maps = self.bench.allocator.goal_maps("bal")
        self.bench.passes.quantize([maps])
        layers = self.bench.inputs.checkpoint.layers
        return {layer.name: layer_result(self.bench.quantized(maps, layer)) for layer in layers}

    def rival(self, name: str) -> dict[str, LayerResult]:
        """A rival's layers."""
        known = self.statistics
        return {k: rival(name).quantize(w, known[k], layer=k) for k, w in self.weights.items()}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    """All calibrate on the same windows, so the model is calibrated once."""
    collect, known = by_block.collect_by_block, []

    def collect_once(*args: Any, **kwargs: Any) -> Iterator[tuple[LinearLayer, LayerStatistics]]:
        if not known:
            known.extend(collect(args[0], args[1]))
        yield from known

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_block, "collect_by_block", collect_once)
        yield Table(tmp_path_factory.mktemp("accuracy"))


def acc_opt_over_gptq() -> float:
    """Table 2: perplexity of acc-opt less that of GPTQ at W4A8 on OPT-1.3B, WikiText-2."""
    printed = {r.method.split(" (")[0]: r.perplexity for r in read_perplexities() if r.text == "wikitext2"}
    return printed["halo acc-opt"]["opt-1.3b"] - printed["gptq-w4a8"]["opt-1.3b"]


def bits(made: Mapping[str, LayerResult]) -> float:
    """Stored bits per weight."""
    return sum((part.bits for part in made.values()), BitCount()).per_weight


def above(ours: Perplexity, other: Perplexity) -> tuple[float, float]:
    """How far our mean loss lies above another's in nats, and the standard error of that."""
    gap = (ours.nll - other.nll)[ours.full_windows] / ours.scored.max()
    return float(gap.mean()), float(np.std(gap, ddof=1)) / math.sqrt(len(gap))


def test_bal_stays_within_half_a_perplexity(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    """Results: perplexity rises by less than 0.5 for most models. Table 2, bal at tile 128: two of four models.

    Ours: below the limit, with 8-bit activations and most tiles in 9 words. Partly: with our rounding and not the
    paper's, and on this model only. It is small and briefly trained, and such a model loses less to rounding than the
    paper's models, whose weights are not here.
    """
    made, limit = table.bal(), read_statements()["perplexity-rise"].value
    scored = table.score(made)
    rise = scored.value - table.full.value
    (printed,) = (r for r in read_perplexities() if (r.text, r.method, r.tile) == ("wikitext2", "halo bal", 128))
    with capsys.disabled():
        theirs = ", ".join(f"{model} {value:+.2f}" for model, value in paper_rise(printed).items())
        print(f"\ntable 2, bal at tile 128: paper {theirs}; ours {bits(made):.2f} bits, perplexity "
              f"{table.full.value:.2f} -> {scored.value:.2f} ({rise:+.2f}): partly, by our rounding")  # fmt: skip
    assert 3.5 < bits(made) < 4.4
    assert -0.1 < rise < limit


def test_sixteen_words_within_a_hundredth_of_a_nat_of_gptq_int4(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table 2 sets acc-opt beside GPTQ at W4A8: OPT-1.3B 15.59 against 15.75. Ours: partly, nearly level.

    The codebooks are those of the product, chosen from twelve layers without calibration. With them 16 words lose a few
    thousandths of a nat more than GPTQ at slightly fewer bits, and nearest rounding would lose more. Less than a
    hundredth, two standard errors included, is what is asserted.
    """
    ours, theirs = table.halo(16), table.rival("gptq-w4-g128")
    a, b = table.score(ours), table.score(theirs)
    gap, error = above(a, b)
    with capsys.disabled():
        print(f"\n16 words {bits(ours):.2f} bits {a.value:.2f}; GPTQ int4 g128 {bits(theirs):.2f} bits {b.value:.2f}")
        print(f"table 2, acc-opt beside GPTQ W4A8: paper {acc_opt_over_gptq():+.2f} perplexity on opt-1.3b; ours "
              f"{gap:+.5f} +- {error:.5f} nats: partly")  # fmt: skip
    assert bits(ours) <= bits(theirs)
    assert gap + 2 * error < 0.01


@pytest.mark.seldom
def test_nine_words_no_worse_than_gptq_int3(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    """Table 2 has perf-opt far below the 3-bit rows (RTN and SmoothQuant at W3A8). Ours beside better 3-bit rivals.

    Partly: the table's 3-bit rows have no groups and no compensation, so these rivals are not among them.
    GPTQ int3 g128 has 3.15 bits and SqueezeLLM 3.28: HALO's 9 words are 3.35, not 3. Against GPTQ "no worse" is
    asserted, against SqueezeLLM better.
    """
    ours = table.halo(9)
    a = table.score(ours)
    printed = {(r.method, r.tile): r.perplexity["opt-1.3b"] for r in read_perplexities()
               if r.text == "wikitext2" and "opt-1.3b" in r.perplexity}  # fmt: skip
    fast, narrow = printed["halo perf-opt", 128], [printed[f"{name}-w3a8", 0] for name in ("rtn", "smoothquant")]
    assert all(fast < perplexity for perplexity in narrow)
    with capsys.disabled():
        print(f"\ntable 2, perf-opt beside RTN and SmoothQuant W3A8 on opt-1.3b: paper {fast} beside {narrow}; ours "
              "beside better 3-bit rivals, below: partly")  # fmt: skip
    assert bits(ours) <= 3.35
    for name in ("gptq-w3-g128", "squeezellm-w3"):
        theirs = table.rival(name)
        b = table.score(theirs)
        gap, error = above(a, b)
        with capsys.disabled():
            print(
                f"\ntable 2, perf-opt: 9 words {bits(ours):.2f} bits {a.value:.2f}; "
                f"{name} {bits(theirs):.2f} bits {b.value:.2f}"
            )
            print(f"loss above its: {gap:+.5f} +- {error:.5f} nats")
        assert gap < (2 * error if name.startswith("gptq") else 0.0)
