"""`profiles`: a table of the shipped MACs, or one MAC with its operating points."""

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer
from rich.table import Table

from haloquant.cli.console import stdout
from haloquant.cli.options import Json
from haloquant.errors import InputError
from haloquant.records import MacProfile
from haloquant.records.tiles import CLASS_WORDS
from haloquant.store.profiles import DEFAULT, fastest_for_any_value, find_profile, read_profile, shipped_profiles
from haloquant.units import engineering

Numbers = dict[str, float | None]
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
    found = {name: read_profile(path) for name, path in shipped_profiles().items()}
    if plot:
        from haloquant.report.charts.circuits import draw_circuits

        draw_circuits(find_profile(profile or "default"), found, plot)
        stdout.print(f"written to {plot}", highlight=False)
    elif profile is not None:
        _one(find_profile(profile), found, period_ps, words, clock_mhz, json)
    elif json:
        _dump({name: numbers(mac, found) for name, mac in found.items()})
    else:
        show(found, found)


def show(wanted: dict[str, MacProfile], known: dict[str, MacProfile]) -> None:
    """Print a line for each of the wanted MACs; `known` are the MACs among which the fastest of a library is found."""
    table = Table(
        "profile", "slowest, ps", "own\n16 / 9 words", "absolute\n16 / 9 words", "energy, fJ", "corners", "description"
    )
    for name, mac in wanted.items():
        row = numbers(mac, known)
        energy, best = row["mean_energy_fj"], row["absolute_16"]
        table.add_row(
            f"{name} (default)" if name == DEFAULT else name,
            f"{row['slowest_ps']:.0f}",
            f"{row['ratio_16']:.2f} / {row['ratio_9']:.2f}",
            "-" if best is None else f"{best:.2f} / {row['absolute_9']:.2f}",
            "-" if energy is None else f"{energy:.1f}",
            f"{row['corners']:.0f}",
            mac.description,
        )
    stdout.print(table)
    stdout.print(
        "How fast the fastest 16 and 9 words are (static delay). own: the slowest value of the same MAC = 1, as papers "
        "quote it. absolute: the\nfastest MAC of the library for all values = 1 (of those that accumulate, where this "
        "one does); above 1 the few words gain speed.",
        highlight=False,
    )


def numbers(mac: MacProfile, known: dict[str, MacProfile]) -> Numbers:
    """Return the numbers of a MAC for the table and `--json`; `absolute_*` is None if its library has no other MAC."""
    delay = np.sort(mac.delay_s[0])
    energy = mac.energy_j[0]
    baseline = fastest_for_any_value(mac, known.values())
    row: Numbers = {"slowest_ps": float(delay[-1]) * 1e12}
    for count in reversed(CLASS_WORDS):
        period = float(delay[min(count, len(delay)) - 1])
        alone = baseline is mac and mac.name not in known
        row[f"ratio_{count}"] = float(delay[-1]) / period
        row[f"absolute_{count}"] = None if alone else float(baseline.delay_s[0].max()) / period
    row["mean_energy_fj"] = None if np.isnan(energy).all() else float(np.nanmean(energy)) * 1e15
    row["corners"] = float(len(mac.corners))
    return row


def _one(
    mac: MacProfile,
    known: dict[str, MacProfile],
    period_ps: float | None,
    words: str | None,
    clock_mhz: float | None,
    json: bool,
) -> None:
    """Print one MAC with its usual operating points, or with the one that the options ask for."""
    from haloquant.dvfs.alpha_power_law import least_voltage, vf_curve
    from haloquant.dvfs.operating_points import admissible_values, period_for

    if period_ps is not None:
        rows: list[tuple[float, np.ndarray]] = [(period_ps * 1e-12, admissible_values(mac, 0, period_ps * 1e-12))]
    elif words is not None:
        values = _values(words)
        rows = [(period_for(mac, 0, values), values)]
    else:
        periods = sorted({float(np.sort(mac.delay_s[0])[min(n, mac.weights.size) - 1]) for n in (*CLASS_WORDS, 256)})
        rows = [(period_s, admissible_values(mac, 0, period_s)) for period_s in periods]
    volts = None
    if clock_mhz is not None:
        curve = vf_curve(mac, values=rows[-1][1])
        volts = least_voltage(curve, clock_mhz * 1e6).voltage_v
    if json:
        points = [{"period_ps": period_s * 1e12, "words": held.tolist()} for period_s, held in rows]
        least_v = {} if volts is None else {"clock_mhz": clock_mhz, "least_voltage_v": volts}
        _dump({"name": mac.name, "description": mac.description, **numbers(mac, known), "points": points, **least_v,
               "provenance": dict(mac.provenance)})  # fmt: skip
        return
    corner = mac.corners[0]
    stdout.print(f"[bold]{mac.name}[/bold], corner {corner.name} ({corner.process}, {corner.voltage_v:g} V, "
                 f"{corner.temperature_c:g} °C)", highlight=False)  # fmt: skip
    stdout.print(mac.description, highlight=False, markup=False)
    table = Table("period", "clock", "energy, mean", "values", "which")
    for period_s, held in rows:
        energy = mac.energy_j[0][np.isin(mac.weights, held)]
        table.add_row(
            engineering(period_s, "s"),
            engineering(1 / period_s, "Hz") if period_s else "-",
            "-" if np.isnan(energy).all() else engineering(float(np.nanmean(energy)), "J"),
            str(held.size),
            " ".join(map(str, held.tolist())) if held.size <= _MOST_WORDS else f"{held[0]} .. {held[-1]}",
        )
    stdout.print(table)
    if volts is not None and clock_mhz is not None:
        stdout.print(f"{engineering(clock_mhz * 1e6, 'Hz')} needs at least {volts:.3f} V ({_curve(mac, rows[-1][1])})",
                     highlight=False)  # fmt: skip
    elif len(mac.corners) > 2:
        for _, held in (rows[0], rows[-1]):
            stdout.print(f"{held.size} values: {_curve(mac, held)}", highlight=False)
    if period_ps is words is clock_mhz is None:
        for key, value in sorted(mac.provenance.items()):
            stdout.print(f"  {key}: {value}", style="dim", highlight=False, markup=False)


def _curve(mac: MacProfile, values: np.ndarray) -> str:
    """Return the fitted law of voltage and clock as a sentence."""
    from haloquant.dvfs.alpha_power_law import vf_curve

    curve = vf_curve(mac, values=values)
    clocks = f"{engineering(curve.frequency_hz[0], 'Hz')} to {engineering(curve.frequency_hz[-1], 'Hz')}"
    supply = f"{curve.voltage_v[0]:g} to {curve.voltage_v[-1]:g} V"
    return (
        f"{clocks} at {supply}, {curve.process}, {curve.temperature_c:g} °C; "
        f"alpha-power law with threshold {curve.threshold_v:.3f} V and alpha {curve.alpha:.2f}, "
        f"worst error {curve.worst_error:.2%} of {len(curve.voltage_v)} voltages"
    )


def _values(text: str) -> np.ndarray:
    """Return the weight values in a text such as "0,8,-8", sorted.

    Raises:
        InputError: the text is no list of whole numbers.
    """
    try:
        found = np.unique(np.array([int(part) for part in text.split(",")], np.int16))
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"the words must be whole numbers with commas between, such as 0,8,-8, not {text!r}"
        ) from error
    return found


def _dump(what: object) -> None:
    stdout.print(msgspec.json.encode(what).decode(), highlight=False, markup=False, soft_wrap=True)
