"""Charts of MACs: delay and energy by weight value, the distribution of delays, and the speed of small codebooks."""

from collections.abc import Mapping
from pathlib import Path

import altair as alt
import numpy as np
import vl_convert

from haloquant.errors import InputError
from haloquant.records import MacProfile
from haloquant.records.tiles import CLASS_WORDS
from haloquant.report.chart_page import chart_page
from haloquant.report.charts import job
from haloquant.report.results import ClassRow, ProfileRow
from haloquant.store.atomic_files import write_bytes, write_text
from haloquant.store.profiles import fastest_for_any_value, has_accumulator

SET_COLOURS = [*job.CLASS_COLOURS[:2], "#000000"]


def operating_points(profile: MacProfile, corner: int = 0) -> list[ClassRow]:
    """Return three clock periods: those that the fastest 9, the fastest 16 and all values meet.

    Each row holds every value whose delay is at most its period, so there can be more than 9 or 16. Periods that admit
    equally many values appear once.
    """
    delay = profile.delay_s[corner]
    volt = profile.corners[corner].voltage_v
    rows: dict[int, ClassRow] = {}
    for words in (*CLASS_WORDS, len(delay)):
        period = float(np.sort(delay)[min(words, len(delay)) - 1])
        held = profile.weights[delay <= period].tolist()
        name = f"all {len(held)}" if len(held) == len(delay) else f"{len(held)} values"
        rows.setdefault(len(held), ClassRow(name, held, volt, 1 / period, 0.0))
    return list(rows.values())


def by_weight(profile: MacProfile, corner: int = 0) -> alt.VConcatChart:
    """Draw delay and energy of every weight value, coloured by the shortest period that admits the value."""
    where = profile.corners[corner]
    row = ProfileRow(
        profile.name,
        profile.description,
        where.name,
        profile.weights.tolist(),
        profile.delay_s[corner].tolist(),
        profile.energy_j[corner].tolist(),
        operating_points(profile, corner),
    )
    says = [
        f"Corner {where.name}: {where.process}, {where.voltage_v:g} V, {where.temperature_c:g} °C. A dashed line is "
        "the period of an operating point; colours mark the values it admits.",
        "What to see: how far the lines of the few fastest values lie below that of all, and whether they also cost "
        "less energy.",
    ]
    chart = job.by_weight_value(row, "admitted by")
    return alt.vconcat(chart, title=_title(f"{profile.name}: delay and energy by weight value", says))


def histogram(profile: MacProfile, corner: int = 0) -> alt.LayerChart | alt.FacetChart:
    """Draw how many weight values have each static delay."""
    delay = profile.delay_s[corner] * 1e12
    counts, edges = np.histogram(delay, bins=40)
    data = [
        {"from": float(a), "to": float(b), "values": int(n)}
        for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
        if n
    ]
    bars = (
        alt.Chart(alt.Data(values=data))
        .mark_bar(color="#BBBBBB", stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X("from:Q", title="static delay, ps", scale=alt.Scale(zero=False)),
            x2="to:Q",
            y=alt.Y("values:Q", title="weight values", scale=alt.Scale(type="sqrt")),
            y2=alt.datum(0),
            tooltip=[alt.Tooltip("from:Q", format=".1f"), alt.Tooltip("to:Q", format=".1f"), "values:Q"],
        )
    )
    points = operating_points(profile, corner)
    layers: list[alt.Chart] = [bars]
    for number, row in enumerate(points):
        mark = alt.Chart(alt.Data(values=[{"period": 1e12 / row.frequency_hz, "label": row.name}]))
        layers.append(mark.mark_rule(strokeDash=[5, 3]).encode(x="period:Q"))
        # The first two periods are close together, so one label is left of its line and the other right.
        side = 9 if number == 1 else -7
        layers.append(
            mark.mark_text(angle=270, align="right", dx=-4, dy=side, y=0).encode(x="period:Q", text="label:N")
        )
    says = [
        "What to see: a tail at the left is what codebooks can use; a MAC whose values are all alike offers none. The "
        "height is a square root, so that one value can be seen beside hundreds."
    ]
    return alt.layer(*layers).properties(
        width=job.WIDTH, height=180, title=_title(f"{profile.name}: how delays are spread", says)
    )


def frontier_rows(profiles: Mapping[str, MacProfile]) -> list[dict[str, str | float]]:
    """Return speed and area of every MAC for 9, 16 and all values, relative to the best comparable MAC for all values.

    `store.profiles.fastest_for_any_value` chooses that MAC. The 9 and 16 values are the fastest ones, whether or not
    they make a good codebook for a model. A MAC whose area is not known (0, as that of a published figure) is left out.
    """
    rows: list[dict[str, str | float]] = []
    for mac in profiles.values():
        if not mac.area_m2:
            continue
        best = fastest_for_any_value(mac, profiles.values())
        library, _, short = mac.name.partition("-")
        delay = np.sort(mac.delay_s[0])
        kind = "multiplier and accumulator" if has_accumulator(mac) else "multiplier alone"
        for words in (*CLASS_WORDS, len(delay)):
            period = float(delay[min(words, len(delay)) - 1])
            rows.append(
                {
                    "library": library,
                    "panel": f"{library}, {kind}",
                    "mac": short or mac.name,
                    "words": f"{words} best words" if words < len(delay) else "all values",
                    "period_ps": period * 1e12,
                    "speed": float(best.delay_s[0].max()) / period,
                    "area": mac.area_m2 / best.area_m2,
                    "area_um2": mac.area_m2 * 1e12,
                    "best": best.name,
                }
            )
    return rows


def frontier(profiles: Mapping[str, MacProfile]) -> alt.VConcatChart:
    """Draw the speed of every MAC's fastest values relative to the library's best MAC for all values, and its area."""
    rows = frontier_rows(profiles)
    panels: list[alt.HConcatChart] = []
    names = [f"{CLASS_WORDS[0]} best words", f"{CLASS_WORDS[1]} best words", "all values"]
    fastest = max(float(row["speed"]) for row in rows) * 1.05
    for panel in dict.fromkeys(row["panel"] for row in rows):
        data = [row for row in rows if row["panel"] == panel]
        base = alt.Chart(alt.Data(values=data)).encode(y=alt.Y("mac:N", title=None, axis=alt.Axis(labelLimit=260)))
        tips = ["mac:N", "words:N", alt.Tooltip("period_ps:Q", format=".1f"), alt.Tooltip("speed:Q", format=".2f"),
                alt.Tooltip("area_um2:Q", format=".1f")]  # fmt: skip
        dots = base.mark_point(filled=True, size=80, opacity=1).encode(
            x=alt.X(
                "speed:Q",
                title="speed, best MAC for all values = 1",
                scale=alt.Scale(domain=[0, fastest], nice=False),
            ),
            color=alt.Color("words:N", scale=alt.Scale(domain=names, range=SET_COLOURS), title=None, sort=names),
            shape=alt.Shape("words:N", scale=alt.Scale(domain=names), title=None, sort=names),
            tooltip=tips,
        )
        one = alt.Chart(alt.Data(values=[{"one": 1}])).mark_rule(strokeDash=[5, 3]).encode(x="one:Q")
        area = (
            alt.Chart(alt.Data(values=[row for row in data if row["words"] == names[2]]))
            .mark_bar(color="#BBBBBB")
            .encode(
                x=alt.X("area:Q", title="area, the same MAC = 1"),
                y=alt.Y("mac:N", title=None, axis=None),
                tooltip=tips,
            )
        )
        panels.append(
            alt.hconcat(
                alt.layer(one, dots).properties(
                    width=360,
                    height=alt.Step(24),
                    title=alt.TitleParams(f"{panel}: best is {data[0]['best']}", anchor="start"),
                ),
                area.properties(width=160, height=alt.Step(24)),
            )
        )
    says = [
        "What to see: a coloured dot right of the dashed line beats, with its few words, the fastest MAC of the "
        "library that takes any value.",
        "The bars say what area it pays for that. Static delays, no wires; the words are the fastest, whatever "
        "they are worth to a model.",
    ]
    return alt.vconcat(*panels, title=_title("What the best words are worth in absolute terms", says)).resolve_scale(
        x="independent"
    )


def draw_circuits(profile: MacProfile, profiles: Mapping[str, MacProfile], out: Path) -> None:
    """Write the charts of one profile and the frontier to an HTML file (interactive, needs no network) or a PNG file.

    Raises:
        InputError: The name of `out` ends in neither .html nor .png.
    """
    if out.suffix not in (".html", ".png"):
        raise InputError(f"the picture must be a .html or a .png file, not {out.name}")
    known = {**profiles, profile.name: profile}
    spec = (
        alt.vconcat(by_weight(profile), histogram(profile), frontier(known), spacing=40)
        .resolve_scale(color="independent", shape="independent")
        .to_dict()
    )
    if out.suffix == ".html":
        write_text(out, chart_page(spec, f"{profile.name}: delay and energy by weight value"))
    else:
        write_bytes(out, vl_convert.vegalite_to_png(spec, scale=2.0))


def _title(text: str, says: list[str]) -> alt.TitleParams:
    return alt.TitleParams(text, subtitle=says, anchor="start", subtitleColor="#555", fontSize=16, offset=12)
