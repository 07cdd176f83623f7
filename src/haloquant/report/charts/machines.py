"""Charts of one model on one machine: parts of time and energy, rooflines, sweeps, claims, deadlines, a bound map."""

from collections.abc import Sequence
from pathlib import Path

import altair as alt
import vl_convert

from haloquant.accel.chart_rows import BandwidthClockCell, Bar, ComparisonRow, DeadlineRow, Mark
from haloquant.accel.roofline import Roof, RooflinePoint
from haloquant.report.charts.job import BOUND_COLOURS, PART_COLOURS
from haloquant.store.atomic_files import write_bytes
from haloquant.units import engineering

COLOURS = ["#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#F0E442"]
PHASES = ["prefill", "decode"]

Chart = alt.TopLevelMixin


def save_png(chart: Chart, path: Path) -> None:
    """Write a chart as a PNG file."""
    write_bytes(path, vl_convert.vegalite_to_png(chart.to_dict(), scale=2.0))


def stacked_costs(bars: Sequence[Bar], title: str) -> alt.VConcatChart:
    """Draw the parts of time and energy of every system, with one row of charts for each phase."""
    systems = list(dict.fromkeys(bar.system for bar in bars))
    phases = [phase for phase in PHASES if any(bar.phase == phase for bar in bars)]

    def panel(phase: str, quantity: str) -> alt.LayerChart | alt.FacetChart:
        chosen = [bar for bar in bars if bar.phase == phase and bar.quantity == quantity]
        unit = quantity[-1].upper() if quantity.endswith("_j") else "s"
        totals = [
            {"system": system, "total": total, "label": engineering(total, unit)}
            for system in systems
            if (total := sum(bar.value for bar in chosen if bar.system == system))
        ]
        scale, prefix = si_scale(max(row["total"] for row in totals))  # pyright: ignore[reportArgumentType]
        for row in totals:
            row["total"] = float(row["total"]) * scale
        parts = [part for part in PART_COLOURS if any(bar.part == part for bar in chosen)]
        data = [{"system": b.system, "part": b.part, "value": b.value * scale} for b in chosen]
        most = max(float(row["total"]) for row in totals)
        y = alt.Y("system:N", sort=systems, title=None)
        x_scale = alt.Scale(domain=[0, most * 1.18], nice=False)
        shades = alt.Scale(domain=parts, range=[PART_COLOURS[part] for part in parts])
        drawn = (
            alt.Chart(alt.Data(values=data))
            .mark_bar()
            .encode(
                y=y,
                x=alt.X("value:Q", title=f"{quantity.split('_')[0]} of {phase}, {prefix}{unit}", scale=x_scale),
                color=alt.Color("part:N", scale=shades, legend=alt.Legend(orient="top", title=None)),
            )
        )
        text = (
            alt.Chart(alt.Data(values=totals))
            .mark_text(align="left", dx=4, fontSize=10)
            .encode(y=y, x="total:Q", text="label:N")
        )
        return alt.layer(drawn, text).properties(width=420, height=alt.Step(22))

    rows = [
        alt.hconcat(*(panel(phase, quantity) for quantity in ("time_s", "energy_j"))).resolve_scale(color="independent")
        for phase in phases
    ]
    return alt.vconcat(*rows).resolve_scale(color="independent").properties(title=title)


def roofline_chart(
    roofs: Sequence[Roof], runs: Sequence[tuple[str, Sequence[RooflinePoint]]], title: str
) -> alt.LayerChart | alt.FacetChart:
    """Draw MACs per second over MACs per byte of DRAM traffic: one roof per operating point, one dot per layer."""
    finite = [dot for _, dots in runs for dot in dots if 0 < dot.macs_per_b < float("inf")]
    least, most = min(dot.macs_per_b for dot in finite) / 2, max(dot.macs_per_b for dot in finite) * 2
    ridges = [roof.ridge_macs_per_b for roof in roofs if roof.ridge_macs_per_b > 0]
    low, high = min([least, *(r / 4 for r in ridges)]), max([most, *(r * 8 for r in ridges)])
    named = [(f"{engineering(r.point.frequency_hz, 'Hz')} at {r.point.voltage_v:g} V", r) for r in roofs]
    lines = [
        {"roof": name, "x": x, "y": roof.attainable_macs_per_s(x)}
        for name, roof in named
        for x in sorted({low, min(max(roof.ridge_macs_per_b, low), high), high})
    ]
    marks = [
        {
            "x": min(max(dot.macs_per_b, low), high),
            "y": dot.macs_per_s,
            "bound": dot.bound,
            "what": f"{name}, whole pass" if dot.name == "whole pass" else f"{name}, a layer",
        }
        for name, dots in runs
        for dot in dots
    ]
    whats = list(dict.fromkeys(mark["what"] for mark in marks))
    bounds = [bound for bound in BOUND_COLOURS if any(mark["bound"] == bound for mark in marks)]
    names = [name for name, _ in named]
    x = alt.X("x:Q", title="MACs per byte from outside", scale=alt.Scale(type="log", domain=[low, high], nice=False))
    y = alt.Y("y:Q", title="MACs per second", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s"))
    drawn = (
        alt.Chart(alt.Data(values=lines))
        .mark_line(color="#555555")
        .encode(x=x, y=y, strokeDash=alt.StrokeDash("roof:N", sort=names, legend=alt.Legend(title="roof")))
    )
    dots = (
        alt.Chart(alt.Data(values=marks))
        .mark_point(size=70, filled=True, opacity=0.8)
        .encode(
            x=x,
            y=y,
            shape=alt.Shape("what:N", sort=whats, legend=alt.Legend(title=None)),
            color=alt.Color(
                "bound:N",
                scale=alt.Scale(domain=bounds, range=[BOUND_COLOURS[b] for b in bounds]),
                legend=alt.Legend(title="bound that held"),
            ),
        )
    )
    return alt.layer(drawn, dots).properties(width=560, height=340, title=title)


def sweep_chart(marks: Sequence[Mark], title: str) -> alt.VConcatChart:
    """Draw time and energy of every system over the swept quantity, with one row of charts for each phase."""
    name, unit = marks[0].swept, marks[0].unit
    log = name != "static power per array"
    scale, prefix = (1e6, "µ") if unit == "s" else (1e-9, "G") if unit == "B/s" else (1.0, "")
    systems = list(dict.fromkeys(mark.system for mark in marks))
    shades = alt.Scale(domain=systems, range=COLOURS[: len(systems)])

    def panel(phase: str, quantity: str) -> alt.Chart:
        chosen = [mark for mark in marks if mark.phase == phase]
        unit_of, values = (
            ("s", [m.time_s for m in chosen]) if quantity == "time" else ("J", [m.energy_j for m in chosen])
        )
        by, letter = si_scale(max(values))
        data = [{"x": m.value * scale, "y": v * by, "system": m.system} for m, v in zip(chosen, values, strict=True)]
        return (
            alt.Chart(alt.Data(values=data))
            .mark_line(point=True)
            .encode(
                x=alt.X(
                    "x:Q",
                    title=f"{name}, {prefix}{unit}",
                    scale=alt.Scale(type="log" if log else "linear"),
                    axis=alt.Axis(format="~g", labelOverlap=True),
                ),
                y=alt.Y("y:Q", title=f"{quantity} of {phase}, {letter}{unit_of}", scale=alt.Scale(zero=True)),
                color=alt.Color("system:N", scale=shades, legend=alt.Legend(orient="top", title=None)),
            )
            .properties(width=380, height=200)
        )

    phases = [phase for phase in PHASES if any(mark.phase == phase for mark in marks)]
    rows = [alt.hconcat(*(panel(phase, quantity) for quantity in ("time", "energy"))) for phase in phases]
    return alt.vconcat(*rows).properties(title=title)


def claims_chart(rows: Sequence[ComparisonRow], title: str) -> alt.VConcatChart:
    """Draw time and energy of every rival divided by HALO's: by the paper's premises, the machine's, in new silicon.

    The dashed line at 1 means equal.
    """
    premises = list(dict.fromkeys(row.premise for row in rows))
    rivals = list(dict.fromkeys(row.rival.split()[0] for row in rows))
    shades = alt.Scale(domain=premises, range=["#BBBBBB", "#D55E00", "#0072B2"][: len(premises)])

    def panel(phase: str, quantity: str, said: str) -> alt.LayerChart | alt.FacetChart:
        data = [
            {"rival": row.rival.split()[0], "premise": row.premise, "ratio": getattr(row, quantity)}
            for row in rows
            if row.phase == phase
        ]
        most = max([1.0, *(float(row["ratio"]) for row in data)]) * 1.12
        base = alt.Chart(alt.Data(values=data)).encode(
            y=alt.Y("rival:N", sort=rivals, title=None),
            yOffset=alt.YOffset("premise:N", sort=premises),
            x=alt.X("ratio:Q", title=f"{phase}: {said}", scale=alt.Scale(domain=[0, most], nice=False)),
        )
        bars = base.mark_bar().encode(
            color=alt.Color("premise:N", scale=shades, legend=alt.Legend(orient="top", title=None))
        )
        text = base.mark_text(align="left", dx=3, fontSize=10).encode(text=alt.Text("ratio:Q", format=".2f"))
        tie = alt.Chart(alt.Data(values=[{"at": 1.0}])).mark_rule(strokeDash=[4, 3]).encode(x="at:Q")
        return alt.layer(bars, tie, text).properties(width=380, height=alt.Step(16))

    said = (("speedup", "rival's time / HALO's"), ("energy_ratio", "rival's energy / HALO's"))
    lines = [alt.hconcat(*(panel(phase, *pair) for pair in said)) for phase in PHASES]
    return alt.vconcat(*lines).properties(title=title)


def deadline_chart(rows: Sequence[DeadlineRow], period_s: float, title: str) -> alt.HConcatChart:
    """Draw the energy until the deadline and the busy time over the supply voltage; label the chosen supplies."""
    by, letter = si_scale(max(row.energy_j for row in rows))
    slow, sign = si_scale(period_s)
    data = [
        {
            "supply": row.supply_factor, "energy": row.energy_j * by, "time": row.time_s * slow,
            "in time": "in time" if row.in_time else "too late", "chosen": row.chosen,
        }
        for row in rows
    ]  # fmt: skip
    base = alt.Chart(alt.Data(values=data)).encode(
        x=alt.X(
            "supply:Q",
            title="supply, share of the machine's own",
            scale=alt.Scale(zero=False),
            axis=alt.Axis(format="%"),
        )
    )
    shades = alt.Scale(domain=["in time", "too late"], range=["#0072B2", "#D55E00"])

    def panel(quantity: str, said: str) -> alt.LayerChart | alt.FacetChart:
        y = alt.Y(f"{quantity}:Q", title=said, scale=alt.Scale(zero=True))
        dots = base.mark_point(size=60, filled=True, opacity=1).encode(
            y=y, color=alt.Color("in time:N", scale=shades, legend=alt.Legend(orient="top", title=None))
        )
        return alt.layer(
            base.mark_line(color="#999999").encode(y=y), dots, base.mark_text(dy=-16).encode(y=y, text="chosen:N")
        )

    limit = alt.Chart(alt.Data(values=[{"at": period_s * slow}])).mark_rule(strokeDash=[4, 3]).encode(y="at:Q")
    energy = panel("energy", f"energy until the deadline, {letter}J").properties(width=400, height=260)
    busy = alt.layer(panel("time", f"busy, {sign}s (dashed: the deadline)"), limit).properties(width=400, height=260)
    return alt.hconcat(energy, busy).properties(title=title)


def bandwidth_clock_map(cells: Sequence[BandwidthClockCell], title: str) -> alt.VConcatChart:
    """Draw the limiting bound and HALO's speed over its rival for each bandwidth and base clock.

    A frame marks the cell of the machine itself.
    """

    def panel(phase: str) -> alt.HConcatChart:
        data = [
            {
                "bandwidth": cell.bandwidth_b_per_s / 1e9, "clock": cell.base_frequency_hz / 1e9, "bound": cell.bound,
                "time": engineering(cell.time_s, "s"), "speed": cell.speedup, "own": cell.own,
            }
            for cell in cells
            if cell.phase == phase
        ]  # fmt: skip
        base = alt.Chart(alt.Data(values=data)).encode(
            x=alt.X("bandwidth:O", title="bandwidth, GB/s", axis=alt.Axis(format="~g", labelAngle=0)),
            y=alt.Y("clock:O", title="base clock, GHz", sort="descending", axis=alt.Axis(format="~g")),
        )
        frame = base.transform_filter("datum.own").mark_rect(filled=False, stroke="black", strokeWidth=3)
        bounds = [bound for bound in BOUND_COLOURS if any(row["bound"] == bound for row in data)]
        held = base.mark_rect().encode(
            color=alt.Color(
                "bound:N",
                scale=alt.Scale(domain=bounds, range=[BOUND_COLOURS[b] for b in bounds]),
                legend=alt.Legend(title=f"{phase}: bound that held, time", orient="top", titleLimit=300),
            )
        )
        gain = base.mark_rect().encode(
            color=alt.Color(
                "speed:Q",
                scale=alt.Scale(scheme="viridis"),
                legend=alt.Legend(title=f"{phase}: speed over {cells[0].rival}", orient="top", titleLimit=300),
            )
        )
        times = base.mark_text(fontSize=10, color="white").encode(text="time:N")
        ratios = base.mark_text(fontSize=10).encode(
            text=alt.Text("speed:Q", format=".2f"),
            color=alt.condition(f"datum.speed > {_middle(cells, phase)}", alt.value("black"), alt.value("white")),
        )
        return alt.hconcat(
            alt.layer(held, times, frame).properties(width=340, height=220),
            alt.layer(gain, ratios, frame).properties(width=340, height=220),
        ).resolve_scale(color="independent")

    phases = [phase for phase in PHASES if any(cell.phase == phase for cell in cells)]
    return alt.vconcat(*(panel(phase) for phase in phases)).resolve_scale(color="independent").properties(title=title)


def _middle(cells: Sequence[BandwidthClockCell], phase: str) -> float:
    """Return the middle between the smallest and the largest gain; text is dark above it and light below."""
    gains = [cell.speedup for cell in cells if cell.phase == phase]
    return (min(gains) + max(gains)) / 2


def si_scale(most: float) -> tuple[float, str]:
    """Return the factor and the SI prefix that bring the largest value between 1 and 1000."""
    for factor, letter in ((1.0, ""), (1e3, "m"), (1e6, "µ"), (1e9, "n")):
        if most * factor >= 1:
            return factor, letter
    return 1e12, "p"
