"""Charts of the report on the paper: its bars beside ours, its MAC by weight value, and the unit nearest to it."""

from collections.abc import Sequence

import altair as alt

from haloquant.report.paper.rows import ClaimRow
from haloquant.store.paper_figures import read_mac
from haloquant.store.profiles import FIGURE_4, find_profile

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
    room = {"left": 5, "top": 5, "right": 40, "bottom": 5}  # a browser's letters may be wider than the legend assumes
    return alt.layer(line, dots).properties(width=420, height=380, title=title, padding=room)


def mac_chart() -> alt.TopLevelMixin:
    """Draw clock and power of every weight value of the paper's MAC, coloured by trailing zeros."""
    data = [
        {"weight": value.weight, "clock": value.frequency_hz / 1e9, "power": value.power_w * 1e6, **_kind(value.weight)}
        for value in read_mac()
    ]
    parts = [_by_weight(data, name, title) for name, title in (("clock", "highest clock, GHz"), ("power", "power, µW"))]
    title = alt.TitleParams(
        "The paper's MAC (its figures 4 and 5): clock and power follow the trailing zeros of the weight", anchor="start"
    )
    return alt.hconcat(*parts, title=title)


def picture_chart() -> alt.TopLevelMixin:
    """Draw figure 4 beside the shipped unit that is nearest to it: clocks over that of the slowest weight value.

    The unit's 0 toggles nothing and has no clock: values below a quarter of the longest delay are left out.
    """
    unit, clocks = find_profile(FIGURE_4), {value.weight: value.frequency_hz for value in read_mac()}
    slowest = min(clocks.values())
    delays = dict(zip(unit.weights.tolist(), unit.delay_s[0].tolist(), strict=True))
    longest = max(delays.values())
    panels = {
        "the paper's MAC, sensitised delay": {weight: clock / slowest for weight, clock in clocks.items()},
        f"{unit.name}, static delay": {weight: longest / own for weight, own in delays.items() if own > longest / 4},
    }
    scale = alt.Scale(domain=[1, 3.2], nice=False)
    parts = [
        _by_weight(
            [{"weight": weight, "ratio": ratio, **_kind(weight)} for weight, ratio in ratios.items()],
            "ratio",
            "clock over that of the slowest value",
            scale,
        ).properties(title=name)
        for name, ratios in panels.items()
    ]
    title = alt.TitleParams("Figure 4, and the shipped unit that is nearest to it (profile figure-4)", anchor="start")
    return alt.hconcat(*parts, title=title)


def _kind(weight: int) -> dict[str, str]:
    return {"kind": next(name for step, name in KINDS.items() if weight % step == 0)}


def _by_weight(
    data: list[dict[str, int | float | str]], name: str, title: str, scale: alt.Scale | None = None
) -> alt.Chart:
    """Draw one quantity over the weight value. The legend lies below, where no width that is guessed cuts it off."""
    legend = alt.Legend(orient="bottom", columns=4, columnPadding=30, labelLimit=240)
    kinds = alt.Scale(domain=list(KINDS.values()), range=COLOURS)
    y = alt.Y(f"{name}:Q", title=title) if scale is None else alt.Y(f"{name}:Q", title=title, scale=scale)
    return (
        alt.Chart(alt.Data(values=data))
        .mark_point(filled=True, size=28, opacity=1)
        .encode(
            x=alt.X("weight:Q", title="weight value", scale=alt.Scale(domain=[-128, 128], nice=False)),
            y=y,
            color=alt.Color("kind:N", title=None, scale=kinds, legend=legend),
        )
        .properties(width=420, height=240)
    )
