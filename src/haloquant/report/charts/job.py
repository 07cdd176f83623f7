"""Charts of one job as Vega-Lite specifications: interactive in the report, static as SVG or PNG files."""

import math

import altair as alt

from haloquant.report.charts.labels import FONT, Span, place_labels
from haloquant.report.results import MethodRow, ParetoRow, ProfileRow, Results, SpanRow, TileRow
from haloquant.report.tables import base_method

alt.data_transformers.disable_max_rows()

# The colour-blind safe palette of Okabe and Ito: the fast class, the slow class, all other values.
CLASS_COLOURS = ["#D55E00", "#0072B2", "#BBBBBB"]
BOUND_COLOURS = {"compute": "#0072B2", "dram": "#D55E00", "sram": "#009E73", "spmv": "#CC79A7"}
# Each part has the same colour in charts of time and of energy; "mac" (energy) is the counterpart of "compute" (time).
PART_COLOURS = BOUND_COLOURS | {
    "mac": "#0072B2", "accumulator": "#56B4E9", "leakage": "#999999", "dvfs": "#E69F00",
    "transition": "#E69F00", "fill": "#F0E442",
}  # fmt: skip
FAMILY_COLOURS = {"reference": "#000000", "halo": "#D55E00", "rival": "#0072B2"}
WIDTH = 760  # pixels; the page is wider, so labels fit at the right


def by_weight_value(profile: ProfileRow, legend: str = "fastest class that holds it") -> alt.Chart | alt.VConcatChart:
    """Draw delay and energy over the weight values, and mark the values of each class.

    A value that is in several codebooks has the colour of the fastest of these classes.
    """
    word_class = {}
    for row in reversed(profile.classes):
        word_class.update({value: row.name for value in row.values})
    names = [row.name for row in profile.classes]
    colours = CLASS_COLOURS[: len(names)]
    if len(word_class) < len(profile.weights):
        names, colours = [*names, "unused"], [*colours, "#DDDDDD"]
    data = [
        {
            "weight": w,
            "delay_ps": d * 1e12,
            "energy_fj": None if math.isnan(e) else e * 1e15,  # not simulated
            "class": word_class.get(w, "unused"),
        }
        for w, d, e in zip(profile.weights, profile.delay_s, profile.energy_j, strict=True)
    ]
    colour = alt.Color(
        "class:N",
        scale=alt.Scale(domain=names, range=colours),
        legend=alt.Legend(title=legend, orient="top"),
    )
    base = alt.Chart(alt.Data(values=data)).mark_bar(width=2.6).properties(width=WIDTH, height=170)
    edges = [min(profile.weights) - 1, max(profile.weights) + 1]
    axis = alt.Axis(values=list(range(-128, 129, 16)))
    x = alt.X("weight:Q", title="weight value", axis=axis, scale=alt.Scale(domain=edges, nice=False))
    tips = ["weight:Q", alt.Tooltip("delay_ps:Q", format=".1f"), alt.Tooltip("energy_fj:Q", format=".2f"), "class:N"]
    delay = base.encode(x=x, y=alt.Y("delay_ps:Q", title="static delay, ps"), color=colour, tooltip=tips)
    apart = 0.075 * max(profile.delay_s) * 1e12  # height of a line of text, in units of the axis
    marks: list[dict[str, object]] = []
    above = -apart
    for row in sorted(profile.classes, key=lambda row: -row.frequency_hz):
        period = 1e12 / row.frequency_hz
        above = max(period, above + apart)
        label = f"{row.name}: {period:.0f} ps, {row.frequency_hz / 1e9:.2f} GHz"
        marks.append({"period_ps": period, "at": above, "label": label})
    rules = alt.Chart(alt.Data(values=marks))
    lines = rules.mark_rule(strokeDash=[5, 3]).encode(y="period_ps:Q")
    # The labels are to the right of the plot, where they cover no bars.
    labels = rules.mark_text(align="left", dx=4, x=WIDTH, clip=False).encode(y="at:Q", text="label:N")
    energy = base.encode(x=x, y=alt.Y("energy_fj:Q", title="energy per MAC, fJ"), color=colour, tooltip=tips)
    return alt.vconcat(alt.layer(delay, lines, labels), energy)


def tile_maps(tiles: list[TileRow], class_names: list[str], method: str) -> alt.Chart | alt.FacetChart:
    """Draw the class of every tile of one method, with one small map for each layer."""
    data = [
        {
            "layer": _short(row.layer),
            "down": d,
            "across": a,
            "class": class_names[c],
            "sensitivity": row.sensitivity[d][a] if row.sensitivity else 0.0,
        }
        for row in tiles
        if row.method == method
        for d, line in enumerate(row.classes)
        for a, c in enumerate(line)
    ]
    seen = {row["class"] for row in data}
    shown = [(n, c) for n, c in zip(class_names, CLASS_COLOURS, strict=False) if n in seen]
    chart = (
        alt.Chart(alt.Data(values=data))
        .mark_rect(stroke="white")
        .encode(
            x=alt.X("across:O", title=None, axis=alt.Axis(labels=False, ticks=False)),
            y=alt.Y("down:O", title=None, axis=alt.Axis(labels=False, ticks=False)),
            color=alt.Color(
                "class:N",
                scale=alt.Scale(domain=[n for n, _ in shown], range=[c for _, c in shown]),
                legend=alt.Legend(orient="top", title=f"class of tile in {method}"),
            ),
            tooltip=["layer:N", "down:O", "across:O", "class:N", alt.Tooltip("sensitivity:Q", format=".3g")],
        )
        .properties(width=84, height=84)
    )
    order = list(dict.fromkeys(row["layer"] for row in data))
    return chart.facet(
        facet=alt.Facet("layer:N", sort=order, title=None, header=alt.Header(labelFontSize=9)), columns=7
    ).resolve_scale(x="independent", y="independent")


def pareto(points: list[ParetoRow], reference_perplexity: float) -> alt.LayerChart | alt.FacetChart:
    """Draw perplexity over time for the sweep of tile classes.

    The points of the three goals have their names. A line joins the points that no other point beats in both.
    """
    data: list[dict[str, object]] = []
    least = float("inf")
    front: list[dict[str, object]] = []
    for p in sorted(points, key=lambda p: (p.time_s, p.perplexity)):
        if p.perplexity < least:
            least = p.perplexity
            front.append({"time_us": p.time_s * 1e6, "perplexity": p.perplexity})
    data += [
        {
            "time_us": p.time_s * 1e6,
            "perplexity": p.perplexity,
            "fast": p.fast_fraction,
            "energy_uj": p.energy_j * 1e6,
            "goal": p.goal,
        }
        for p in sorted(points, key=lambda p: p.time_s)
    ]
    base = alt.Chart(alt.Data(values=data)).encode(
        x=alt.X("time_us:Q", title="time of a pass, µs", scale=alt.Scale(zero=False, padding=30)),
        y=alt.Y("perplexity:Q", title="perplexity (W+A)", scale=alt.Scale(zero=False, padding=16)),
        tooltip=[
            "goal:N",
            alt.Tooltip("time_us:Q", format=".2f"),
            alt.Tooltip("perplexity:Q", format=".3f"),
            alt.Tooltip("fast:Q", format=".0%", title="fast tiles"),
            alt.Tooltip("energy_uj:Q", format=".3g"),
        ],
    )
    line = (
        alt.Chart(alt.Data(values=front))
        .mark_line(color="#999999", interpolate="step-after")
        .encode(x="time_us:Q", y="perplexity:Q")
    )
    dots = base.mark_circle(size=90, color=CLASS_COLOURS[0], opacity=1)
    text = base.mark_text(dy=-12).encode(text="goal:N")
    full = alt.Chart(alt.Data(values=[{"y": reference_perplexity, "label": "full precision"}]))
    rule = full.mark_rule(strokeDash=[4, 4]).encode(y="y:Q")
    name = full.mark_text(align="left", x=WIDTH, dx=4).encode(y="y:Q", text="label:N")
    return alt.layer(line, dots, text, rule, name).properties(width=WIDTH, height=260)


def accuracy_by_bits(methods: list[MethodRow]) -> alt.LayerChart | alt.FacetChart:
    """Draw perplexity over stored bits per weight for every method. Labels are placed so that none covers another."""
    height = 340.0
    seen = [m.perplexity if m.perplexity_a8 is None else m.perplexity_a8 for m in methods]
    bits = [m.bits_per_weight for m in methods]
    across = Span(min(bits) * 0.95, max(bits) * 1.12, float(WIDTH), log=True)
    # Use a logarithmic axis only if one method is so much worse that a linear axis would hide all other differences.
    steep = max(seen) > 3 * min(seen)
    margin = 0.1 * (max(seen) - min(seen)) or 0.01 * max(seen)
    low = min(seen) / 1.1 if steep else min(seen) - margin
    high = max(seen) * 1.1 if steep else max(seen) + margin
    up = Span(low, high, height, log=steep)
    at = [(across.pixel(b), height - up.pixel(p)) for b, p in zip(bits, seen, strict=True)]
    spots = place_labels([m.name for m in methods], at, float(WIDTH), height)
    data = [
        {
            "bits": m.bits_per_weight,
            "perplexity": perplexity,
            "method": m.name,
            "family": m.family,
            "label_x": across.value(x),
            "label_y": up.value(height - y),
        }
        for m, perplexity, (x, y) in zip(methods, seen, spots, strict=True)
    ]
    ticks = [t for t in (2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 8, 12, 16) if across.low <= t <= across.high]
    x_scale = alt.Scale(type="log", domain=[across.low, across.high], nice=False)
    y_scale = alt.Scale(type="log" if steep else "linear", domain=[low, high], nice=False)
    colours = alt.Scale(domain=list(FAMILY_COLOURS), range=list(FAMILY_COLOURS.values()))
    base = alt.Chart(alt.Data(values=data)).encode(
        color=alt.Color("family:N", scale=colours, legend=alt.Legend(orient="top", title=None)),
        tooltip=["method:N", alt.Tooltip("bits:Q", format=".2f"), alt.Tooltip("perplexity:Q", format=".3f")],
    )
    dots = base.mark_circle(size=80, opacity=1).encode(
        x=alt.X("bits:Q", title="stored bits per weight", scale=x_scale, axis=alt.Axis(values=ticks, format="~g")),
        y=alt.Y("perplexity:Q", title="perplexity (W+A)", scale=y_scale),
    )
    text = base.mark_text(align="left", fontSize=FONT).encode(x="label_x:Q", y="label_y:Q", text="method:N")
    return alt.layer(dots, text).properties(width=WIDTH, height=height)


def stacked_costs(results: Results, quantity: str, phase: str) -> alt.Chart | alt.FacetChart:
    """Draw the parts of time or energy of every method, as ratios to one method on the same machine.

    There is one panel for each machine.
    """
    base = base_method(results)
    data: list[dict[str, object]] = []
    total_of = {
        c.target: (c.total_time_s if quantity == "time" else c.total_energy_j) for c in base.costs if c.phase == phase
    }
    longest = 0.0
    for method in results.methods:
        for cost in method.costs:
            if cost.phase != phase:
                continue
            parts = cost.time_s if quantity == "time" else cost.energy_j
            total = sum(parts.values()) / total_of[cost.target]
            longest = max(longest, total)
            label = f"{total:.2f}"
            if quantity == "time" and cost.bound:
                held = max(cost.bound, key=lambda name: cost.bound[name])
                label += f"  {held} {cost.bound[held]:.0%}"
            row: dict[str, object] = {"method": method.name, "target": cost.target}
            data.append({**row, "part": "", "ratio": 0.0, "total": total, "label": label})
            data += [
                {**row, "part": part, "ratio": value / total_of[cost.target]}
                for part, value in parts.items()
                if value > 0
            ]
    order = [m.name for m in results.methods]
    shown = {str(row["part"]) for row in data}
    known = {part: colour for part, colour in PART_COLOURS.items() if part in shown}
    colours = alt.Scale(domain=list(known), range=list(known.values()))
    lines = alt.Chart().encode(y=alt.Y("method:N", sort=order, title=None))
    bars = lines.mark_bar().encode(
        x=alt.X(
            "ratio:Q",
            title=f"{quantity} of {phase}, {base.name.upper()} = 1",
            scale=alt.Scale(domain=[0, longest * (1.35 if quantity == "time" else 1.12)], nice=False),
        ),
        color=alt.Color("part:N", scale=colours, legend=alt.Legend(orient="top", title=None)),
        tooltip=["method:N", "part:N", alt.Tooltip("ratio:Q", format=".3f")],
    )
    text = lines.mark_text(align="left", dx=4, fontSize=FONT).encode(x="total:Q", text="label:N")
    return (
        alt.layer(bars, text, data=alt.Data(values=data))
        .properties(width=380, height=alt.Step(18))
        .facet(column=alt.Column("target:N", title=None, sort=list(total_of)))
    )


def timeline(spans: list[SpanRow], class_names: list[str]) -> alt.VConcatChart:
    """Draw clock and supply voltage over the time of one pass."""
    data = [
        {
            "start_us": s.start_s * 1e6,
            "end_us": s.end_s * 1e6,
            "ghz": s.frequency_hz / 1e9,
            "v": s.voltage_v,
            "class": s.class_name,
            "group": s.group,
        }
        for s in spans
    ]
    names = list(dict.fromkeys([*class_names, *(s.class_name for s in spans)]))
    base = (
        alt.Chart(alt.Data(values=data))
        .mark_bar(height=6)
        .encode(
            x=alt.X("start_us:Q", title="time, µs", scale=alt.Scale(nice=False)),
            x2="end_us:Q",
            color=alt.Color(
                "class:N",
                scale=alt.Scale(domain=names, range=CLASS_COLOURS[: len(names)]),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=["group:O", "class:N", alt.Tooltip("ghz:Q", format=".2f"), alt.Tooltip("v:Q", format=".2f")],
        )
        .properties(width=WIDTH, height=90)
    )
    return alt.vconcat(
        base.encode(y=alt.Y("ghz:Q", title="clock, GHz", scale=alt.Scale(zero=False, padding=8))),
        base.encode(y=alt.Y("v:Q", title="supply, V", scale=alt.Scale(zero=False, padding=8))),
    )


def _short(layer: str) -> str:
    return layer.removeprefix("model.layers.").replace("self_attn.", "").replace("mlp.", "")
