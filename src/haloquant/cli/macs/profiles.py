"""`profiles`: a table of the shipped MACs, or one MAC with its operating points."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from haloquant.api.macs.profiles import MacFigures, PointOfValues, ProfileDescription, describe_profile, list_profiles
from haloquant.circuits.number_formats import weight_numbers
from haloquant.cli.console import bold, stdout
from haloquant.cli.options import Json
from haloquant.errors import InfeasibleError, InputError
from haloquant.store.profiles import DEFAULT
from haloquant.units import engineering

_MOST_WORDS = 32  # a longer list of values is printed as its first and last


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command(
        epilog="Examples: `haloquant profiles` · `haloquant profiles --profile default --period-ps 200` · "
        "`haloquant profiles --profile 'sky130hd-digitsdadda_ks+lone-mul-abc' --words 0,8,16,32,64 --clock-mhz 500` · "
        "`haloquant profiles --plot macs.html`"
    )(profiles)


def profiles(
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="Show one MAC: a shipped profile's name, default, or a file.")
    ] = None,
    period_ps: Annotated[
        float | None, typer.Option("--period-ps", help="With --profile: which values meet this period.", min=0.0)
    ] = None,
    words: Annotated[
        str | None, typer.Option(help="With --profile: the least period of these values, such as 0,8,16.")
    ] = None,
    clock_mhz: Annotated[
        float | None, typer.Option("--clock-mhz", help="With --profile: the least voltage for this clock.", min=0.0)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw --profile and the frontier over all into this .html or .png.")
    ] = None,
    json: Json = False,
) -> None:
    """List the MAC profiles that come with the package, show one with its operating points, or draw one among all."""
    if profile is None and not (period_ps is words is clock_mhz is None):
        raise InputError("--period-ps, --words and --clock-mhz must come with --profile, which names the MAC")
    if plot:
        from haloquant.report.charts.circuits import draw_circuits

        shipped = {name: found.profile for name, found in list_profiles().items()}
        draw_circuits(describe_profile(profile or "default").figures.profile, shipped, plot)
        stdout.print(f"written to {plot}", highlight=False)
    elif profile is not None:
        found = describe_profile(
            profile,
            period_s=None if period_ps is None else period_ps * 1e-12,
            words=None if words is None else _values(words),
            clock_hz=None if clock_mhz is None else clock_mhz * 1e6,
        )
        if json:
            least_v = {} if clock_mhz is None else {"clock_mhz": clock_mhz, "least_voltage_v": found.least_voltage_v}
            _dump(_document(found) | least_v)
            return
        _print_one(found, clock_mhz, usual=period_ps is words is clock_mhz is None)
    elif json:
        _dump({name: numbers(found) for name, found in list_profiles().items()})
    else:
        show(list_profiles())


def show(wanted: Mapping[str, MacFigures]) -> None:
    """Print a line for each of the MACs."""
    table = Table(
        "profile", "slowest, ps", "own\n16 / 9 words", "absolute\n16 / 9 words", "energy, fJ", "corners", "description"
    )
    for name, found in wanted.items():
        own, absolute, energy_j = found.own_ratio, found.absolute_ratio, found.mean_energy_j
        table.add_row(
            f"{name} (default)" if name == DEFAULT else name,
            f"{found.slowest_s * 1e12:.0f}",
            f"{own[16]:.2f} / {own[9]:.2f}",
            "-" if absolute is None else f"{absolute[16]:.2f} / {absolute[9]:.2f}",
            "-" if energy_j is None else f"{energy_j * 1e15:.1f}",
            str(len(found.profile.corners)),
            found.profile.description,
        )
    stdout.print(table)
    stdout.print(
        "How fast the fastest 16 and 9 words are (static delay). own: the slowest value of the same MAC = 1, as papers "
        "quote it. absolute: the\nfastest MAC of the library for all values = 1 (of those that accumulate, where this "
        "one does); above 1 the few words gain speed.",
        highlight=False,
    )


def numbers(found: MacFigures) -> dict[str, float | None]:
    """Return the figures of a MAC for `--json`; `absolute_*` is None if its library has no other MAC."""
    row: dict[str, float | None] = {"slowest_ps": found.slowest_s * 1e12}
    for count, ratio in found.own_ratio.items():
        row[f"ratio_{count}"] = ratio
        row[f"absolute_{count}"] = None if found.absolute_ratio is None else found.absolute_ratio[count]
    row["mean_energy_fj"] = None if found.mean_energy_j is None else found.mean_energy_j * 1e15
    row["corners"] = float(len(found.profile.corners))
    return row


def _document(found: ProfileDescription) -> dict[str, Any]:
    mac = found.figures.profile
    points = [
        {"period_ps": point.period_s * 1e12, "words": weight_numbers(point.values, mac.weight_format)}
        for point in found.points
    ]
    about = {"name": mac.name, "description": mac.description}
    return {**about, **numbers(found.figures), "points": points, "provenance": dict(mac.provenance)}


def _print_one(found: ProfileDescription, clock_mhz: float | None, usual: bool) -> None:
    """Print one MAC with its operating points; with its origin if these are the usual ones."""
    mac, points = found.figures.profile, found.points
    corner = mac.corners[0]
    where = f"({corner.process}, {corner.voltage_v:g} V, {corner.temperature_c:g} °C)"
    stdout.print(bold(mac.name, f", corner {corner.name} {where}"), highlight=False)
    stdout.print(mac.description, highlight=False, markup=False)
    table = Table("period", "clock", "energy, mean", "values", "which")
    for point in points:
        held = [f"{number:g}" for number in sorted(weight_numbers(point.values, mac.weight_format))]
        table.add_row(
            engineering(point.period_s, "s"),
            engineering(1 / point.period_s, "Hz") if point.period_s else "-",
            "-" if point.mean_energy_j is None else engineering(point.mean_energy_j, "J"),
            str(len(held)),
            " ".join(held) if len(held) <= _MOST_WORDS else f"{held[0]} .. {held[-1]}",
        )
    stdout.print(table)
    if found.least_voltage_v is not None and clock_mhz is not None:
        stdout.print(f"{engineering(clock_mhz * 1e6, 'Hz')} needs at least {found.least_voltage_v:.3f} V "
                     f"({_law(found, points[-1])})", highlight=False)  # fmt: skip
    elif len(mac.corners) > 2:
        for point in (points[0], points[-1]):
            stdout.print(f"{point.values.size} values: {_law(found, point)}", highlight=False)
    if usual:
        for key, value in sorted(mac.provenance.items()):
            stdout.print(f"  {key}: {value}", style="dim", highlight=False, markup=False)


def _law(found: ProfileDescription, point: PointOfValues) -> str:
    """Return the fitted law of voltage and clock as a sentence, or why there is none."""
    try:
        curve = found.voltage_law(point)
    except InfeasibleError as error:
        return str(error)
    clocks = f"{engineering(curve.frequency_hz[0], 'Hz')} to {engineering(curve.frequency_hz[-1], 'Hz')}"
    supply = f"{curve.voltage_v[0]:g} to {curve.voltage_v[-1]:g} V"
    return (
        f"{clocks} at {supply}, {curve.process}, {curve.temperature_c:g} °C; "
        f"alpha-power law with threshold {curve.threshold_v:.3f} V and alpha {curve.alpha:.2f}, "
        f"worst error {curve.worst_error:.2%} of {len(curve.voltage_v)} voltages"
    )


def _values(text: str) -> list[float]:
    """Return the weight values in a text such as "0,8,-8".

    Raises:
        InputError: The text is no list of numbers.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"the words must be numbers with commas between, such as 0,8,-8, not {text!r:.80}") from error


def _dump(what: object) -> None:
    stdout.print(msgspec.json.encode(what).decode(), highlight=False, markup=False, soft_wrap=True)
