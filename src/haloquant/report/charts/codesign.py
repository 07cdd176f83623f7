"""Draw the front of a search of designs as an HTML page and as an SVG file."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import msgspec
import vl_convert

from haloquant.report.chart_page import chart_page
from haloquant.store.atomic_files import write_text


class DesignRow(msgspec.Struct, frozen=True):
    """One design on the front of one phase, or the reference.

    `supply_v` is its supply, in the volts of its profile, and `supply_share` the share of the profile's own.
    `loss_nats` is the rise of the model's loss over full precision, with 8-bit activations. `divergence_nats` is how
    far its predictions are from full precision with quantized weights alone, in nats a token; it decides on
    `as_accurate_as_reference`. `energy_time_ratio` is the reference's energy x time over the design's; it is None if no
    INT4 design fits the area. `recipe` and `profile` are its files; they are empty for the reference.
    """

    phase: str
    words: list[int]
    words_name: str
    element: str
    corner: str
    supply_v: float
    supply_share: float
    tile: int
    columns_per_register: int
    columns: int
    array_area_mm2: float
    loss_nats: float
    divergence_nats: float
    perplexity: float
    tokens_per_s_mm2: float
    token_j: float
    time_s: float
    energy_j: float
    energy_time_ratio: float | None
    as_accurate_as_reference: bool
    recipe: str = ""
    profile: str = ""


def draw_designs(
    rows: Sequence[DesignRow], reference: Sequence[DesignRow], out: Path, notes: Sequence[str] = ()
) -> None:
    """Write codesign.html (interactive, needs no network) and codesign.svg into the folder `out`.

    They show the divergence over the rate per area and over the energy of a token, with one row of charts for each
    phase. Below the charts are the `notes`, in lines of at most 120 characters.
    """
    data = [
        {
            "phase": row.phase, "words": row.words_name, "element": row.element, "tile": row.tile, "axis": axis,
            "loss": row.loss_nats, "divergence": row.divergence_nats, "supply": row.supply_v, "kind": kind,
            "cost": value, "ratio": row.energy_time_ratio,
        }
        for kind, group in (("front", rows), ("GPTQ on INT4", reference))
        for row in group
        for axis, value in (
            ("tokens/s/mm², higher is better", row.tokens_per_s_mm2),
            ("mJ a token, lower is better", row.token_j * 1e3),
        )
    ]  # fmt: skip
    chart = (
        alt.Chart(alt.Data(values=data))
        .mark_point(filled=True, size=80)
        .encode(
            x=alt.X("cost:Q", title=None, scale=alt.Scale(zero=False, padding=20)),
            y=alt.Y("divergence:Q", title="divergence from full precision, nats", scale=alt.Scale(zero=False)),
            color=alt.Color("words:N", title="words"),
            shape=alt.Shape("kind:N", title=None),
            tooltip=["words:N", "element:N", "tile:Q", alt.Tooltip("supply:Q", format=".3g"),
                     alt.Tooltip("divergence:Q", format=".4f"),
                     alt.Tooltip("loss:Q", format=".4f"), alt.Tooltip("cost:Q", format=".4g"),
                     alt.Tooltip("ratio:Q", format=".2f")],
        )
        .properties(width=340, height=230)
        .facet(row=alt.Row("phase:N", title=None, sort=["prefill", "decode"]), column=alt.Column("axis:N", title=None))
        .resolve_scale(x="independent")
    )  # fmt: skip
    if notes:
        lines = [line for note in notes for line in textwrap.wrap(note, 120)]
        chart = chart.properties(title=alt.TitleParams(lines, orient="bottom", fontSize=10, fontWeight="normal"))
    spec = chart.to_dict()
    write_text(out / "codesign.html", chart_page(spec, "codesign: accuracy against speed and energy"))
    write_text(out / "codesign.svg", vl_convert.vegalite_to_svg(spec))
