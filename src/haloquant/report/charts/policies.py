"""Draw the policies for ordering tiles: the time of each, and how much of it goes into transitions."""

from collections.abc import Sequence

import altair as alt

from haloquant.accel.chart_rows import PolicyRow
from haloquant.report.charts.machines import PHASES, si_scale


def policy_chart(rows: Sequence[PolicyRow], title: str) -> alt.HConcatChart:
    """Draw the time of every policy that can run, the part spent in transitions, and the number of transitions."""

    def panel(phase: str) -> alt.LayerChart | alt.FacetChart:
        chosen = [row for row in rows if row.phase == phase and not row.cannot]
        by, letter = si_scale(max(row.time_s for row in chosen))
        data = [
            {"policy": row.policy, "part": part, "value": value * by, "place": place}
            for row in chosen
            for place, (part, value) in enumerate(
                (("running", row.time_s - row.transition_s), ("in transition", row.transition_s))
            )
        ]
        totals = [
            {"policy": row.policy, "total": row.time_s * by, "label": f"{row.transitions} transitions"}
            for row in chosen
        ]
        y = alt.Y("policy:N", sort=[row.policy for row in chosen], title=None)
        limits = alt.Scale(domain=[0, max(row.time_s for row in chosen) * by * 1.35], nice=False)
        shades = alt.Scale(domain=["running", "in transition"], range=["#0072B2", "#E69F00"])
        bars = (
            alt.Chart(alt.Data(values=data))
            .mark_bar()
            .encode(
                y=y,
                x=alt.X("value:Q", title=f"time of {phase}, {letter}s", scale=limits),
                color=alt.Color("part:N", scale=shades, legend=alt.Legend(orient="top", title=None)),
                order="place:Q",
            )
        )
        text = alt.Chart(alt.Data(values=totals)).mark_text(align="left", dx=4, fontSize=10)
        return alt.layer(bars, text.encode(y=y, x="total:Q", text="label:N")).properties(width=380, height=alt.Step(24))

    phases = [phase for phase in PHASES if any(row.phase == phase and not row.cannot for row in rows)]
    return alt.hconcat(*(panel(phase) for phase in phases)).properties(title=title)
