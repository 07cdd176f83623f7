"""Make the report: one HTML file that needs no network, and the same charts as SVG and PNG files."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import altair as alt
import jinja2
import msgspec
import vl_convert

from haloquant.report.chart_page import browser_scripts
from haloquant.report.charts import job
from haloquant.report.charts.sweeps import sweep_chart
from haloquant.report.gpu_table import gpu_sentences, gpu_table
from haloquant.report.results import Results
from haloquant.report.tables import (
    base_method,
    cards,
    headline,
    method_table,
    new_silicon_caption,
    new_silicon_table,
    targets_and_phases,
)

_SEE = {
    "time": "Behind each bar: its length, and the bound that held longest with its share of the busy time. Where that "
    "is memory, a faster clock gains nothing.",
    "energy": "What to see: which part is large. Codebooks lower the multipliers' part; fewer stored bits lower the "
    "memories'; leakage follows time.",
}
_SWEPT = {
    "transition": (
        "How much hangs on the time of a transition",
        "Schedules are made anew at each value. Where a line goes flat the schedule has stopped switching and keeps "
        "one clock: that is where the gain of classes ends.",
    ),
    "static power per array": (
        "How much hangs on static power",
        "What to see: how far energy moves along a line beside the distance between two lines. Where it moves more, a "
        "ratio of energies is worth no more than the assumed static power.",
    ),
}


@dataclass(frozen=True)
class Figure:
    """One chart: its Vega-Lite specification, and the same chart as SVG text."""

    name: str
    title: str
    caption: str
    spec: str
    svg: str


def _figure(name: str, title: str, caption: str, chart: alt.TopLevelMixin) -> Figure:
    spec = chart.to_dict()
    # "</" would end the script element that carries the specification.
    text = json.dumps(spec, sort_keys=True).replace("</", "<\\/")
    return Figure(name, title, caption, text, vl_convert.vegalite_to_svg(spec))


def draw_figures(results: Results, progress: Callable[[int, int], None] | None = None) -> list[Figure]:
    """Return every chart of the report, in the order of the page.

    Args:
        results: the numbers to draw.
        progress: called with the number of finished charts and the number of all charts.
    """
    classes = [row.name for row in results.profile.classes]
    reference = results.method("fp16").perplexity
    shown, base = headline([row.name for row in results.methods]), base_method(results).name.upper()
    plan: list[tuple[str, str, str, Callable[[], alt.TopLevelMixin]]] = [
        (
            "weights",
            "The idea: what a weight's value does to this MAC",
            f"Static delay and energy per operation of every weight value, corner {results.profile.corner}. "
            "Coloured bars are the words of each class's codebook; a dashed line is the period that all words of its "
            "class meet. What to see: how far the lines of the coloured words lie below that of all values.",
            lambda: job.by_weight_value(results.profile),
        ),
        (
            "accuracy",
            "Accuracy at stored bits",
            "Left and low is better: fewer stored bits, less perplexity. Bits on a logarithmic axis; the perplexity "
            "axis begins near the best, so look at its numbers before reading a distance as large.",
            lambda: job.accuracy_by_bits(results.methods),
        ),
        (
            "tiles",
            "Which tiles got which class",
            f"{shown}, one map a layer (block.projection), every map stretched to a square: rows are output "
            "features, columns input features. Layers that are hurt most by coarse words keep the finer, slower ones. "
            "Hover for the sensitivity.",
            lambda: job.tile_maps(results.tiles, classes, shown),
        ),
    ]
    if results.pareto:
        plan.append(
            (
                "pareto",
                "The trade between accuracy and time",
                f"{results.pareto_of or 'One pass'}: the same model with more or fewer fast tiles; perf-opt, bal and "
                "acc-opt are points of it. The line joins the points that no other beats; dots off it bought nothing.",
                lambda: job.pareto(results.pareto, reference),
            )
        )
    plan += [
        (
            f"{quantity}-{phase}",
            f"{quantity.capitalize()} of {phase}, and what bounds it",
            f"Parts of the simulated total, every method on every machine; {base} is 1 on each. " + _SEE[quantity],
            partial(job.stacked_costs, results, quantity, phase),
        )
        for phase in dict.fromkeys(c.phase for c in results.methods[0].costs)
        for quantity in ("time", "energy")
    ]
    if results.timeline:
        plan.append(
            (
                "timeline",
                "Clock and supply over one pass",
                f"{results.timeline_of}: each change of level is a transition that is counted and charged. "
                "Grey stretches at the base point are products that have no codebook (attention).",
                lambda: job.timeline(results.timeline, classes),
            )
        )
    for swept in dict.fromkeys(row.swept for row in results.sweeps):
        where = next(row.target for row in results.sweeps if row.swept == swept)
        plan.append(
            (
                f"sweep-{swept.replace(' ', '-')}",
                _SWEPT.get(swept, (f"How much hangs on {swept}", ""))[0],
                f"Simulated on {where}; solid dots are the target's own value. " + _SWEPT.get(swept, ("", ""))[1],
                partial(sweep_chart, results.sweeps, swept),
            )
        )
    drawn = []
    for done, (name, title, caption, make) in enumerate(plan):
        if progress:
            progress(done, len(plan))
        drawn.append(_figure(name, title, caption, make()))
    if progress:
        progress(len(plan), len(plan))
    return drawn


def render_page(results: Results, drawn: list[Figure]) -> str:
    """Return the report as HTML text; `drawn` are the charts that it contains."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        results=results,
        cards=cards(results),
        table=method_table(results),
        pairs=targets_and_phases(results),
        base=base_method(results).name.upper(),
        activations=results.activations,
        new_silicon=[(found, new_silicon_table(found), new_silicon_caption(found)) for found in results.new_silicon],
        board=gpu_table(results),
        board_says=gpu_sentences(results),
        recipe=_pretty(results.provenance.get("recipe")),
        figures=drawn,
        bundle=browser_scripts(),
    )


def _pretty(recipe: str | None) -> str:
    """Return a recipe in JSON with line breaks and indents, or unchanged if it is not JSON."""
    if recipe is None:
        return ""
    try:
        return msgspec.json.format(recipe, indent=2)
    except msgspec.DecodeError:
        return recipe


def figure_png(figure: Figure, scale: float = 2.0) -> bytes:
    """Return the chart as the bytes of a PNG file."""
    return vl_convert.vegalite_to_png(figure.spec.replace("<\\/", "</"), scale=scale)
