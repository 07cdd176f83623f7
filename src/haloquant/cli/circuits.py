"""`characterize` and `explain`: what the value of a weight does to a MAC."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from haloquant.cli.console import progress, stdout
from haloquant.cli.options import Profile, Quiet
from haloquant.cli.profiles import show as show_profiles
from haloquant.eda.yosys import ABC_SCRIPTS
from haloquant.errors import InputError
from haloquant.records import MacProfile
from haloquant.store.profiles import find_profile, read_profile, shipped_profiles, write_profile
from haloquant.units import engineering

if TYPE_CHECKING:
    from haloquant.jobs.mac.catalogue import Source

Liberty = Annotated[
    list[Path] | None, typer.Option("--liberty", "-l", help="Cell library (.lib, .lib.gz); repeat it for more corners.")
]
Mac = Annotated[
    str,
    typer.Option(
        "--mac", help="One of our MACs: ROWS TREE _ ADDER - STAGE in one word; `characterize --list` shows all."
    ),
]
Script = Annotated[
    str | None,
    typer.Option(help=f"How ABC restructures: {', '.join(ABC_SCRIPTS)}. Default balance; keep with --keep-adders."),
]
Rtl = Annotated[Path | None, typer.Option(help="Your own Verilog (top module `mac`) instead of --mac.")]
Ports = Annotated[Path | None, typer.Option(help="TOML that declares the ports of --rtl.")]
Period = Annotated[float, typer.Option("--period-ps", help="What timing-driven synthesis aims at.", min=1.0)]
Adders = Annotated[bool, typer.Option("--keep-adders", help="Keep the full-adder structure of the design.")]


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command(
        epilog="`haloquant characterize --mac boothwdadda_bk-mul --liberty cells.lib.gz --out my.profile.json` · "
        "`haloquant characterize --rtl mac.v --ports mac.toml --liberty cells.lib`"
    )(characterize)
    app.command(
        epilog="`haloquant explain --weight -86` · "
        "`haloquant explain --weight -86 --mac sxarray_rca-mul --liberty cells.lib` · "
        "`haloquant explain --layer model.layers.0.mlp.down_proj out`"
    )(explain)


def characterize(
    liberty: Liberty = None,
    mac: Mac = "boothwdadda_bk-mul",
    rtl: Rtl = None,
    ports: Ports = None,
    period_ps: Period = 300.0,
    keep_adders: Adders = False,
    script: Script = None,
    static_only: Annotated[bool, typer.Option("--static-only", help="Delays only: no simulation, no energy.")] = False,
    partial_sums: Annotated[
        str,
        typer.Option(
            help="What partial sums are drawn from: demo (measured on the demo model's layers), gaussian, or a FILE "
            "that bench/measure_partial_sums.py wrote of your model."
        ),
    ] = "demo",
    out: Annotated[Path, typer.Option("--out", "-o", help="Profile to write.")] = Path("mac.profile.json"),
    show_list: Annotated[bool, typer.Option("--list", help="Show every MAC we can generate and do nothing.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a MAC: synthesize it, check that it multiplies, time and simulate it for every weight value."""
    from haloquant.jobs.mac import profile as circuit

    if show_list:
        from haloquant.jobs.mac import catalogue

        stdout.print("\n".join(catalogue.names()), highlight=False, markup=False)
        return
    if not liberty:
        raise InputError("characterize needs a cell library: --liberty FILE (.lib or .lib.gz), once for every corner")
    source = _source(mac, rtl, ports)
    with progress(quiet) as tell:
        made = circuit.profile(
            source,
            liberty,
            period_ps * 1e-12,
            keep_adders=keep_adders,
            script=script,
            dynamic=not static_only,
            partial_sums=partial_sums,
            progress=tell,
        )
    write_profile(made, out)
    show_profiles({made.name: made}, {name: read_profile(path) for name, path in shipped_profiles().items()})
    slowest_ps = float(made.delay_s[0].max()) / source.cycles * 1e12
    if slowest_ps > period_ps:
        stdout.print(
            f"note: the period of {period_ps:g} ps was what synthesis aimed at and is not met: the slowest value takes "
            f"{slowest_ps:.0f} ps{' a cycle' if source.cycles > 1 else ''}.",
            style="dim",
            highlight=False,
        )
    stdout.print(f"written to {out}", highlight=False)


def explain(
    out: Annotated[Path | None, typer.Argument(help="Output folder of a finished run, for --layer.")] = None,
    weight: Annotated[int | None, typer.Option("--weight", "-w", help="A weight value.")] = None,
    layer: Annotated[str | None, typer.Option(help="A linear layer of the run in OUT.")] = None,
    method: Annotated[str, typer.Option(help="With --layer: which of the run's HALO models.")] = "halo-bal",
    rows: Annotated[int, typer.Option(help="With --layer: so many tiles in the table.", min=1)] = 24,
    profile: Profile = "default",
    liberty: Annotated[
        list[Path] | None, typer.Option("--liberty", "-l", help="Cell library: shows the path gate by gate.")
    ] = None,
    mac: Mac = "boothwdadda_bk-mul",
    rtl: Rtl = None,
    ports: Ports = None,
    period_ps: Period = 300.0,
    keep_adders: Adders = False,
    script: Script = None,
    lookups: Annotated[bool, typer.Option("--lookups", help="Write out every table look-up, to redo by hand.")] = False,
) -> None:
    """Say what a weight's value does to a MAC, or why the tiles of a layer have their classes.

    A weight: its rank in a profile or, with a cell library, its longest path. A layer: what decided in a finished run.
    """
    if layer is not None:
        if out is None or weight is not None:
            raise InputError("--layer must come with the output folder of a finished run, and without --weight")
        from haloquant.cli.tile_reasons import show

        show(out, layer, method, rows)
        return
    if weight is None:
        raise InputError("explain must be given --weight VALUE, or --layer NAME and the output folder of a run")
    if not liberty:
        _rank(find_profile(profile), weight)
        return
    from haloquant.circuits.characterization import typical_conditions
    from haloquant.circuits.timing.path_report import HEADERS, path_rows, path_text
    from haloquant.circuits.timing.paths import worst_path
    from haloquant.jobs.mac import profile as circuit

    source = _source(mac, rtl, ports)
    _, netlist, library = circuit.build(source, liberty[0], period_ps * 1e-12, keep_adders=keep_adders, script=script)
    path = worst_path(netlist, library, weight, typical_conditions(library))
    if lookups:
        stdout.print(path_text(path), highlight=False, markup=False, soft_wrap=True)
        return
    table = Table(
        *HEADERS, title=f"{source.name} in {library.name}, weight {weight}: {engineering(path.delay_s, 's', 4)}"
    )
    for row in path_rows(path):
        table.add_row(*row)
    stdout.print(table)


def _source(mac: str, rtl: Path | None, ports: Path | None) -> "Source":
    """A MAC of ours by name, or a person's own."""
    from haloquant.jobs.mac import catalogue

    if (rtl is None) != (ports is None):
        raise InputError("--rtl and --ports must be given together: a MAC of your own needs its ports declared")
    return catalogue.from_rtl(rtl, ports) if rtl and ports else catalogue.generated(mac)


def _rank(profile: MacProfile, weight: int) -> None:
    """Where a value stands among all of a profile's."""
    from haloquant.dvfs.operating_points import rows_of

    row = int(rows_of(profile, [weight], "the weight")[0])
    delay, energy = profile.delay_s[0], profile.energy_j[0]
    stdout.print(f"[bold]{profile.name}[/bold], corner {profile.corners[0].name}: {profile.description}")
    for name, values, unit in (("delay", delay, "s"), ("energy", energy, "J")):
        if np.isnan(values).all():
            stdout.print(f"  {name}: not simulated, the profile holds delays only", highlight=False)
            continue
        value = float(values[row])
        rank = int((values < value).sum()) + 1
        stdout.print(
            f"  {name} of {weight}: {engineering(value, unit)}, rank {rank} of {len(values)}, "
            f"{value / float(np.nanmean(values)):.2f} of the mean, {value / float(np.nanmax(values)):.2f} of the most",
            highlight=False,
        )
    stdout.print("With --liberty and --mac the longest path is shown gate by gate.", style="dim")
