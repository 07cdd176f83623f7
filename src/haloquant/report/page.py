"""The report: one HTML file that needs no network, and the same pictures as files."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import altair as alt
import jinja2
import vl_convert

from haloquant.report import charts
from haloquant.report.results import Results
from haloquant.report.tables import HEADLINE, cards, method_table


@dataclass(frozen=True)
class Figure:
    """One picture: its Vega-Lite specification, and the same drawn as SVG."""

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


def figures(results: Results, progress: Callable[[int, int], None] | None = None) -> list[Figure]:
    """Every picture of the report, in its order."""
    classes = [row.name for row in results.profile.classes]
    reference = results.method("fp16").perplexity
    plan: list[tuple[str, str, str, Callable[[], alt.TopLevelMixin]]] = [
        (
            "weights",
            "The idea: what a weight's value does to this MAC",
            f"Static delay and energy per operation of every weight value, corner {results.profile.corner}. "
            "Coloured bars are the words of each class's codebook; dashed lines the periods all of them meet.",
            lambda: charts.by_weight_value(results.profile),
        ),
        (
            "accuracy",
            "Accuracy at stored bits",
            "Both axes logarithmic. Left and low is better.",
            lambda: charts.accuracy_by_bits(results.methods),
        ),
        (
            "tiles",
            "Which tiles got which class",
            "One map a layer: rows are output features, columns input features. Hover for the sensitivity.",
            lambda: charts.tile_maps(results.tiles, classes, HEADLINE),
        ),
    ]
    if results.pareto:
        plan.append(
            (
                "pareto",
                "The trade between accuracy and time",
                "The same model with more or fewer fast tiles; perf-opt, bal and acc-opt are points of it.",
                lambda: charts.pareto(results.pareto, reference),
            )
        )
    plan += [
        (
            f"{quantity}-{phase}",
            f"{quantity.capitalize()} of {phase}, and what bounds it",
            "Parts of the simulated total, every method on every machine; W8A8 is 1 on each.",
            partial(charts.stacks, results, quantity, phase),
        )
        for phase in dict.fromkeys(c.phase for c in results.methods[0].costs)
        for quantity in ("time", "energy")
    ]
    if results.timeline:
        plan.append(
            (
                "timeline",
                "Clock and supply over one pass",
                f"{results.timeline_of}: each step is a transition that is counted and charged.",
                lambda: charts.timeline(results.timeline, classes),
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


def page(results: Results, drawn: list[Figure]) -> str:
    """The HTML text of the report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    bundle = vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue]  # the stub forgets the default
    bundle = bundle.replace("</script", "<\\/script")
    return environment.get_template("page.html.j2").render(
        results=results, cards=cards(results), table=method_table(results), figures=drawn, bundle=bundle
    )


def png(figure: Figure, scale: float = 2.0) -> bytes:
    """A figure as PNG bytes."""
    return vl_convert.vegalite_to_png(figure.spec.replace("<\\/", "</"), scale=scale)
