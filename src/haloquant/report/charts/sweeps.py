"""Draw how the results depend on two uncertain quantities: the time of a transition and an array's static power."""

import altair as alt

from haloquant.report.results import SweepRow

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"]
TRANSITION = "transition"


def sweep_chart(rows: list[SweepRow], swept: str) -> alt.HConcatChart:
    """Draw time and energy of every phase over one uncertain quantity.

    Both are ratios to the first method at the target's own value of the quantity.
    """
    chosen = [row for row in rows if row.swept == swept]
    methods = list(dict.fromkeys(row.method for row in chosen))
    phases = list(dict.fromkeys(row.phase for row in chosen))
    transition = swept == TRANSITION
    factor, unit = (1e6, "µs") if transition else (1.0, chosen[0].unit)
    own = {row.phase: row for row in chosen if row.own and row.method == methods[0]}
    data = [
        {
            "value": row.value * factor,
            "time": row.time_s / own[row.phase].time_s,
            "energy": row.energy_j / own[row.phase].energy_j,
            "method": row.method,
            "phase": row.phase,
            "own": "the target's own" if row.own else "swept",
        }
        for row in chosen
    ]
    x = alt.X(
        "value:Q",
        title=f"{'time of a transition' if transition else swept}, {unit}",
        scale=alt.Scale(type="log" if transition else "linear"),
    )
    colours = alt.Scale(domain=methods, range=COLOURS[: len(methods)])

    def panel(quantity: str) -> alt.LayerChart | alt.FacetChart:
        base = alt.Chart(alt.Data(values=data)).encode(
            x=x,
            y=alt.Y(f"{quantity}:Q", title=f"{quantity}, {methods[0]} = 1", scale=alt.Scale(zero=False, padding=10)),
            color=alt.Color("method:N", scale=colours, legend=alt.Legend(orient="top", title=None)),
            strokeDash=alt.StrokeDash(
                "phase:N",
                scale=alt.Scale(domain=phases, range=[[1, 0], [5, 3]]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=["method:N", "phase:N", "value:Q", alt.Tooltip(f"{quantity}:Q", format=".3f"), "own:N"],
        )
        dots = base.mark_point(size=60, opacity=1).encode(
            strokeDash=alt.value([1, 0]),
            fill=alt.condition("datum.own != 'swept'", alt.Color("method:N", scale=colours), alt.value("white")),
        )
        return alt.layer(base.mark_line(), dots).properties(width=370, height=220)

    # Static power does not change the time, so its sweep has only the panel of energy.
    return alt.hconcat(*(panel(quantity) for quantity in (("time", "energy") if transition else ("energy",))))
