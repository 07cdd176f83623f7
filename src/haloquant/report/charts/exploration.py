"""Draw the Pareto front of an exploration as an HTML page and as a PNG file."""

from collections.abc import Sequence
from pathlib import Path

import altair as alt
import msgspec
import vl_convert

from haloquant.report.chart_page import chart_page
from haloquant.store.atomic_files import write_bytes, write_text


class NewSiliconCost(msgspec.Struct, frozen=True):
    """The same model at the area of the machine's arrays on the element that suits it best, and W4A8 on its best.

    W4A8 has no figures where not one column of an element for it fits.
    """

    element: str
    time_s: float
    energy_j: float
    w4a8_element: str = ""
    w4a8_time_s: float | None = None
    w4a8_energy_j: float | None = None


class Point(msgspec.Struct, frozen=True):
    """One point: the choices made, and their accuracy, time and energy on one machine in one phase."""

    profile: str
    tile: int
    goal: str
    target: str
    phase: str
    fast_fraction: float
    bits_per_weight: float
    perplexity: float
    time_s: float
    energy_j: float
    clock_ratio: float  # clock of the fast class divided by the clock that every value of this MAC can meet
    absolute_period_s: float  # clock period of the fast class, in the technology of the MAC
    best: bool = False  # True if no other point of this target and phase has better perplexity, time and energy at once
    knee: bool = False  # True for the knee of perplexity over time among the points of this MAC, tile, target and phase
    new_silicon: NewSiliconCost | None = None  # None if no elements of the MAC's library are known, or none fits
    left_out: list[str] = []  # sentences on the systems and elements that do not fit the area of new silicon


def draw_exploration(points: Sequence[Point], out: Path) -> None:
    """Write explore.html (interactive, needs no network) and explore.png into the folder `out`.

    They show perplexity over time and over energy, with one row of charts for each pair of target and phase.
    """
    data = [
        {
            "mac": p.profile, "tile": str(p.tile), "goal": p.goal, "where": f"{p.phase} on {p.target}",
            "perplexity": p.perplexity, "time_us": p.time_s * 1e6, "energy_uj": p.energy_j * 1e6,
            "front": "on the front" if p.best else "beaten", "axis": axis,
            "cost": {"time, µs": p.time_s, "energy, µJ": p.energy_j}[axis] * 1e6,
            **({"element": n.element, "new_us": n.time_s * 1e6, "new_uj": n.energy_j * 1e6}
               if (n := p.new_silicon) else {}),
        }
        for p in points for axis in ("time, µs", "energy, µJ")
    ]  # fmt: skip
    place = alt.Chart().encode(
        x=alt.X("cost:Q", title=None, scale=alt.Scale(zero=False, padding=25)),
        y=alt.Y("perplexity:Q", title="perplexity (W+A)", scale=alt.Scale(zero=False)),
        opacity=alt.Opacity(
            "front:N", scale=alt.Scale(domain=["on the front", "beaten"], range=[1.0, 0.25]), title=None
        ),
    )
    marks = place.mark_point(filled=True, size=90).encode(
        color=alt.Color("mac:N", title="MAC", legend=alt.Legend(labelLimit=400)),
        shape=alt.Shape("tile:N", title="tile"),
        tooltip=["mac:N", "tile:N", "goal:N", "where:N", alt.Tooltip("perplexity:Q", format=".3f"),
                 alt.Tooltip("time_us:Q", format=".3f"), alt.Tooltip("energy_uj:Q", format=".4g"), "front:N",
                 alt.Tooltip("element:N", title="new silicon: element"),
                 alt.Tooltip("new_us:Q", title="new silicon: µs", format=".3f"),
                 alt.Tooltip("new_uj:Q", title="new silicon: µJ", format=".4g")],
    )  # fmt: skip
    names = place.mark_text(dy=-11, fontSize=9).encode(text="goal:N")
    chart = (
        alt.layer(marks, names, data=alt.Data(values=data))
        .properties(width=340, height=220)
        .facet(
            row=alt.Row("where:N", title=None),
            column=alt.Column(
                "axis:N", title=None, sort=["time, µs", "energy, µJ"], header=alt.Header(labelFontSize=13)
            ),
        )
        .resolve_scale(x="independent", y="independent")
    )
    spec = chart.to_dict()
    write_text(out / "explore.html", chart_page(spec, "explore: accuracy against time and energy"))
    write_bytes(out / "explore.png", vl_convert.vegalite_to_png(spec, scale=2.0))
