"""Charts of the report on the paper: its bars beside ours, and its MAC by weight value."""

from collections.abc import Sequence

import altair as alt

from haloquant.report.paper.rows import ClaimRow
from haloquant.store.paper_figures import read_mac

KINDS = {32: "multiples of 32", 16: "other multiples of 16", 8: "other multiples of 8", 1: "all others"}
PLACES = ("figure 8", "figure 10", "figure 11", "figure 12", "figure 13")
COLOURS = ["#1b7837", "#d95f02", "#7570b3", "#bbbbbb"]


def bars_chart(rows: Sequence[ClaimRow]) -> alt.TopLevelMixin:
    """Draw every bar of figures 8 to 13 against ours under the paper's premises; a dot on the line is equal."""
    data = [
        {"place": row.place, "claim": row.claim, "paper": row.paper, "ours": row.ours, "verdict": row.verdict}
        for row in rows
        if row.place in PLACES and row.unit == "ratio" and row.paper and row.ours
    ]
    ends = alt.Data(values=[{"x": 0.7, "y": 0.7}, {"x": 5.0, "y": 5.0}])
    line = alt.Chart(ends).mark_line(color="#888", strokeDash=[5, 3]).encode(x="x:Q", y="y:Q")
    scale = alt.Scale(type="log", domain=[0.7, 5.0], nice=False)
    values = alt.Axis(values=[0.7, 1, 1.5, 2, 3, 4, 5])
    dots = (
        alt.Chart(alt.Data(values=data))
        .mark_point(filled=True, size=70, opacity=0.8)
        .encode(
            x=alt.X("paper:Q", title="the paper's bar, ratio", scale=scale, axis=values),
            y=alt.Y("ours:Q", title="ours, under its premises", scale=scale, axis=values),
            color=alt.Color("place:N", title=None, sort=list(PLACES)),
            shape=alt.Shape("place:N", title=None, sort=list(PLACES)),
            tooltip=["place:N", "claim:N", "paper:Q", "ours:Q", "verdict:N"],
        )
    )
    title = alt.TitleParams(
        "The paper's bars, and what its clocks and its power by value give",
        subtitle=["A dot on the dashed line is equal; both axes are logarithmic."],
        anchor="start",
        subtitleColor="#555",
    )
    return alt.layer(line, dots).properties(width=420, height=380, title=title)


def mac_chart() -> alt.TopLevelMixin:
    """Draw clock and power of every weight value of the paper's MAC, coloured by trailing zeros."""
    data = [
        {
            "weight": value.weight,
            "clock": value.frequency_hz / 1e9,
            "power": value.power_w * 1e6,
            "kind": next(name for step, name in KINDS.items() if value.weight % step == 0),
        }
        for value in read_mac()
    ]
    base = alt.Chart(alt.Data(values=data)).mark_point(filled=True, size=28, opacity=1)
    kinds = alt.Scale(domain=list(KINDS.values()), range=COLOURS)
    colour = alt.Color("kind:N", title=None, scale=kinds, legend=alt.Legend(labelLimit=240))
    weights = alt.Scale(domain=[-128, 128], nice=False)
    parts = [
        base.encode(
            x=alt.X("weight:Q", title="weight value", scale=weights), y=alt.Y(f"{name}:Q", title=title), color=colour
        ).properties(width=420, height=240)
        for name, title in (("clock", "highest clock, GHz"), ("power", "power, µW"))
    ]
    title = alt.TitleParams(
        "The paper's MAC (its figures 4 and 5): clock and power follow the trailing zeros of the weight", anchor="start"
    )
    return alt.hconcat(*parts, title=title)
