"""Pictures as Vega-Lite charts: interactive in the report, static SVG or PNG from the same specification."""

import altair as alt

from haloquant.report.results import MethodRow, ParetoRow, ProfileRow, Results, SpanRow, TileRow

alt.data_transformers.disable_max_rows()

# Colour-blind safe (Okabe-Ito); classes from fast to slow, then the rest.
CLASS_COLOURS = ["#D55E00", "#0072B2", "#999999"]
PART_COLOURS = ["#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#F0E442"]
FAMILY_COLOURS = {"reference": "#000000", "halo": "#D55E00", "rival": "#0072B2"}
WIDTH = 860


def by_weight_value(profile: ProfileRow) -> alt.Chart | alt.VConcatChart:
    """Delay and energy over the weight values, with the words of each class marked."""
    word_class = {}
    for row in reversed(profile.classes):
        word_class.update({value: row.name for value in row.values})
    names = [row.name for row in profile.classes] + ["unused"]
    data = [
        {
            "weight": w,
            "delay_ps": d * 1e12,
            "energy_fj": e * 1e15,
            "class": word_class.get(w, "unused"),
        }
        for w, d, e in zip(profile.weights, profile.delay_s, profile.energy_j, strict=True)
    ]
    colour = alt.Color(
        "class:N",
        scale=alt.Scale(domain=names, range=[*CLASS_COLOURS[: len(names) - 1], "#DDDDDD"]),
        legend=alt.Legend(title="fastest class that holds it", orient="top"),
    )
    base = alt.Chart(alt.Data(values=data)).mark_bar(width=2.6).properties(width=WIDTH, height=170)
    x = alt.X("weight:Q", title="weight value", scale=alt.Scale(domain=[-129, 128], nice=False))
    tips = ["weight:Q", alt.Tooltip("delay_ps:Q", format=".1f"), alt.Tooltip("energy_fj:Q", format=".2f"), "class:N"]
    delay = base.encode(x=x, y=alt.Y("delay_ps:Q", title="static delay, ps"), color=colour, tooltip=tips)
    rules = alt.Chart(
        alt.Data(
            values=[
                {"period_ps": 1e12 / row.frequency_hz, "label": f"{row.name}: {row.frequency_hz / 1e9:.2f} GHz"}
                for row in profile.classes
            ]
        )
    )
    lines = rules.mark_rule(strokeDash=[5, 3]).encode(y="period_ps:Q")
    labels = rules.mark_text(align="right", dx=-4, dy=-5, x=WIDTH).encode(y="period_ps:Q", text="label:N")
    energy = base.encode(x=x, y=alt.Y("energy_fj:Q", title="energy per MAC, fJ"), color=colour, tooltip=tips)
    return alt.vconcat(alt.layer(delay, lines, labels), energy)


def tile_maps(tiles: list[TileRow], class_names: list[str], method: str) -> alt.Chart | alt.FacetChart:
    """The class of every tile, one small map a layer."""
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
    chart = (
        alt.Chart(alt.Data(values=data))
        .mark_rect(stroke="white")
        .encode(
            x=alt.X("across:O", title=None, axis=alt.Axis(labels=False, ticks=False)),
            y=alt.Y("down:O", title=None, axis=alt.Axis(labels=False, ticks=False)),
            color=alt.Color(
                "class:N",
                scale=alt.Scale(domain=class_names, range=CLASS_COLOURS[: len(class_names)]),
                legend=alt.Legend(orient="top", title=f"class of tile in {method}"),
            ),
            tooltip=["layer:N", "down:O", "across:O", "class:N", alt.Tooltip("sensitivity:Q", format=".3g")],
        )
        .properties(width=84, height=84)
    )
    order = list(dict.fromkeys(str(row["layer"]) for row in data))
    return chart.facet(
        facet=alt.Facet("layer:N", sort=order, title=None, header=alt.Header(labelFontSize=9)), columns=7
    ).resolve_scale(x="independent", y="independent")


def pareto(points: list[ParetoRow], reference_perplexity: float) -> alt.LayerChart | alt.FacetChart:
    """Perplexity against time over the sweep of tile classes; the three goals named."""
    data = [
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
        x=alt.X("time_us:Q", title="time of a prefill, µs", scale=alt.Scale(zero=False)),
        y=alt.Y("perplexity:Q", title="perplexity (W+A8)", scale=alt.Scale(zero=False)),
        tooltip=[
            "goal:N",
            alt.Tooltip("time_us:Q", format=".2f"),
            alt.Tooltip("perplexity:Q", format=".3f"),
            alt.Tooltip("fast:Q", format=".0%", title="fast tiles"),
            alt.Tooltip("energy_uj:Q", format=".3g"),
        ],
    )
    line = base.mark_line(color="#999999")
    dots = base.mark_circle(size=90, color=CLASS_COLOURS[0], opacity=1)
    text = base.mark_text(dy=-12).encode(text="goal:N")
    rule = (
        alt.Chart(alt.Data(values=[{"y": reference_perplexity, "label": "full precision"}]))
        .mark_rule(strokeDash=[4, 4])
        .encode(y="y:Q")
    )
    return alt.layer(line, dots, text, rule).properties(width=WIDTH, height=260)


def accuracy_by_bits(methods: list[MethodRow]) -> alt.LayerChart | alt.FacetChart:
    """Perplexity against stored bits per weight, every method."""
    data = [
        {
            "bits": m.bits_per_weight,
            "perplexity": m.perplexity_a8 if m.perplexity_a8 is not None else m.perplexity,
            "method": m.name,
            "family": m.family,
        }
        for m in methods
    ]
    base = alt.Chart(alt.Data(values=data)).encode(
        x=alt.X("bits:Q", title="stored bits per weight", scale=alt.Scale(type="log", nice=False, padding=20)),
        y=alt.Y("perplexity:Q", title="perplexity (W+A8)", scale=alt.Scale(type="log", padding=10)),
        color=alt.Color("family:N", scale=alt.Scale(domain=list(FAMILY_COLOURS), range=list(FAMILY_COLOURS.values()))),
        tooltip=["method:N", alt.Tooltip("bits:Q", format=".2f"), alt.Tooltip("perplexity:Q", format=".3f")],
    )
    return alt.layer(
        base.mark_circle(size=90, opacity=1), base.mark_text(align="left", dx=8, fontSize=10).encode(text="method:N")
    ).properties(width=WIDTH, height=300)


def stacks(results: Results, quantity: str, phase: str) -> alt.Chart | alt.FacetChart:
    """Time or energy by part, every method, one panel a machine, as a ratio to W8A8 on the same machine."""
    data: list[dict[str, object]] = []
    for method in results.methods:
        for cost in method.costs:
            if cost.phase != phase:
                continue
            parts = cost.time_s if quantity == "time" else cost.energy_j
            total_of = {
                c.target: (c.total_time_s if quantity == "time" else c.total_energy_j)
                for c in results.method("w8a8").costs
                if c.phase == phase
            }
            data += [
                {"method": method.name, "target": cost.target, "part": part, "ratio": value / total_of[cost.target]}
                for part, value in parts.items()
                if value > 0
            ]
    order = [m.name for m in results.methods]
    return (
        alt.Chart(alt.Data(values=data))
        .mark_bar()
        .encode(
            x=alt.X("ratio:Q", title=f"{quantity} of {phase}, W8A8 = 1"),
            y=alt.Y("method:N", sort=order, title=None),
            color=alt.Color("part:N", scale=alt.Scale(range=PART_COLOURS), legend=alt.Legend(orient="top")),
            tooltip=["method:N", "part:N", alt.Tooltip("ratio:Q", format=".3f")],
        )
        .properties(width=340, height=alt.Step(17))
        .facet(column=alt.Column("target:N", title=None))
    )


def timeline(spans: list[SpanRow], class_names: list[str]) -> alt.VConcatChart:
    """Clock and voltage over time."""
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
        .mark_bar(height=3)
        .encode(
            x=alt.X("start_us:Q", title="time, µs"),
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
