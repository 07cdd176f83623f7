"""`characterize`, `partial-sums`, `explain`: measure a MAC and its inputs, and explain the effect of a weight value."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.table import Table

import haloquant
from haloquant.cli.console import bold, stdout
from haloquant.cli.macs.profiles import show as show_profiles
from haloquant.cli.options import Profile, Quiet, refuse_others
from haloquant.eda.yosys import ABC_SCRIPTS
from haloquant.errors import InputError
from haloquant.units import engineering

Liberty = Annotated[
    list[Path] | None, typer.Option("--liberty", "-l", help="Cell library (.lib, .lib.gz); repeat it for more corners.")
]
Mac = Annotated[
    str,
    typer.Option(
        "--mac", help="A MAC of the generator: ROWS TREE _ ADDER - STAGE in one word; `characterize --list` shows all."
    ),
]
Script = Annotated[
    str | None,
    typer.Option(help=f"How ABC restructures: {', '.join(ABC_SCRIPTS)}. Default balance; keep with --keep-adders."),
]
Rtl = Annotated[
    list[Path] | None,
    typer.Option(help="Your own Verilog instead of --mac; repeat it for a design of several files, packages first."),
]
Include = Annotated[
    list[Path] | None,
    typer.Option(
        "--include",
        "-I",
        help="Folder of files that the Verilog includes, if they are not beside it; repeat it for more.",
    ),
]
Ports = Annotated[
    Path | None, typer.Option(help="TOML that declares the ports of --rtl, and its top module if not `mac`.")
]
Period = Annotated[
    float,
    typer.Option("--period-ps", help="Clock period that timing-driven synthesis aims at, in picoseconds.", min=1.0),
]
Adders = Annotated[
    bool, typer.Option("--keep-adders", help="Keep the full-adder structure of the design instead of restructuring it.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command(
        epilog="Examples: "
        "`haloquant characterize --mac boothwdadda_bk-mul --liberty cells.lib.gz --out my.profile.json` · "
        "`haloquant characterize --rtl mac.v --ports mac.toml --liberty cells.lib`"
    )(characterize)
    app.command(
        "partial-sums",
        epilog="Example: `haloquant partial-sums my-model --text my-text.txt --out my.partial-sums.json`",
    )(partial_sums)
    app.command(
        epilog="Examples: `haloquant explain --weight -86` · "
        "`haloquant explain --weight -86 --mac sxarray_rca-mul --liberty cells.lib` · "
        "`haloquant explain --layer model.layers.0.mlp.down_proj out`"
    )(explain)


def partial_sums(
    model: Annotated[str, typer.Argument(help="Full-precision model folder in Hugging Face format, or `demo`.")],
    text: Annotated[str, typer.Option(help="Text that the model reads (.txt, .xz), or `demo`.")] = "demo",
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("model.partial-sums.json"),
    quiet: Quiet = False,
) -> None:
    """Measure the partial sums in a model's layers, from which `characterize --partial-sums FILE` draws its stimuli."""
    from haloquant.api.models.partial_sums import measure_partial_sums

    for sums in measure_partial_sums(model, text, out=out, progress=not quiet):
        low, high = int(sums.quantile[0]), int(sums.quantile[-1])
        values = f"{low:,} to {high:,}, median {int(sums.quantile[sums.quantile.size // 2]):,}"
        stdout.print(f"weights of {sums.weight_bits} bits: {values}. {sums.source}", highlight=False)
    stdout.print(f"written to {out}", highlight=False)


def characterize(
    liberty: Liberty = None,
    mac: Mac = "boothwdadda_bk-mul",
    rtl: Rtl = None,
    ports: Ports = None,
    include: Include = None,
    period_ps: Period = 300.0,
    keep_adders: Adders = False,
    script: Script = None,
    static_only: Annotated[bool, typer.Option("--static-only", help="Delays only: no simulation, no energy.")] = False,
    partial_sums: Annotated[
        str,
        typer.Option(
            help="What partial sums are drawn from: demo (measured on the demo model's layers), gaussian, or a FILE "
            "that `haloquant partial-sums` wrote of your model."
        ),
    ] = "demo",
    search: Annotated[
        Literal["delay", "area-delay", "area-delay-energy"] | None,
        typer.Option(help="Try every script at 0.7, 1 and 1.4 times --period-ps, and take the mapping with the least."),
    ] = None,
    words: Annotated[
        str, typer.Option(help="With --search: the weight values that count, such as 0,8,-8,16,-16; all without it.")
    ] = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="Profile to write.")] = Path("mac.profile.json"),
    show_list: Annotated[bool, typer.Option("--list", help="Show every MAC we can generate and do nothing.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a MAC: synthesize it, check that it multiplies, time and simulate it for every weight value."""
    from haloquant.api.macs.circuits import find_mac, mac_names
    from haloquant.api.macs.profiles import figures_of

    if show_list:
        stdout.print("\n".join(mac_names()), highlight=False, markup=False)
        return
    if not liberty:
        raise InputError("characterize needs a cell library: --liberty FILE (.lib or .lib.gz), once for every corner")
    design = _design(mac, rtl, ports, include)
    measured = haloquant.characterize(
        design,
        liberty,
        ports=ports,
        include=include or (),
        period_s=period_ps * 1e-12,
        keep_adders=keep_adders,
        script=script,
        simulate=not static_only,
        partial_sums=partial_sums,
        search=search,
        words=_whole_numbers(words),
        out=out,
        progress=not quiet,
    )
    show_profiles({measured.name: figures_of(measured)})
    cycles = find_mac(design, ports, include or ()).cycles
    slowest_ps = float(measured.delay_s[0].max()) / cycles * 1e12
    if search is not None:
        stdout.print(f"mapping: {measured.provenance['mapping_search']}", style="dim", highlight=False)
    elif slowest_ps > period_ps:
        stdout.print(
            f"note: the period of {period_ps:g} ps was what synthesis aimed at and is not met: the slowest value takes "
            f"{slowest_ps:.0f} ps{' a cycle' if cycles > 1 else ''}.",
            style="dim",
            highlight=False,
        )
    if measured.provenance["checked"].startswith("not checked"):
        stdout.print("note: the MAC's function was not checked, as its ports file says.", style="dim", highlight=False)
    for key in ("timing_warning", "library_warnings"):
        if warning := measured.provenance.get(key):
            stdout.print(f"note: {warning}.", style="dim", highlight=False, markup=False)
    stdout.print(f"written to {out}", highlight=False)


HEEDED = {  # by each form of `explain`
    "--attention": ("--attention", "--tokens"),
    "--layer": ("--layer", "--method", "--rows"),
    "--weight without --liberty": ("--weight", "--profile"),
    "--liberty": (
        "--liberty", "--weight", "--mac", "--rtl", "--ports", "--include", "--period-ps", "--keep-adders", "--script",
        "--lookups",
    ),
}  # fmt: skip


def explain(
    out: Annotated[
        Path | None, typer.Argument(help="Output folder of a finished run, for --layer or --attention.")
    ] = None,
    weight: Annotated[float | None, typer.Option("--weight", "-w", help="A weight value.")] = None,
    layer: Annotated[str | None, typer.Option(help="A linear layer of the run in OUT.")] = None,
    method: Annotated[str, typer.Option(help="With --layer: which of the run's HALO models.")] = "halo-bal",
    rows: Annotated[int, typer.Option(help="With --layer: number of tiles in the table.", min=1)] = 24,
    attention: Annotated[
        bool, typer.Option("--attention", help="How far the run's weights changed what the model attends to.")
    ] = False,
    tokens: Annotated[int, typer.Option(help="With --attention: tokens of the text; 0: all.", min=0)] = 1024,
    profile: Profile = "default",
    liberty: Annotated[
        list[Path] | None, typer.Option("--liberty", "-l", help="Cell library: shows the path gate by gate.")
    ] = None,
    mac: Mac = "boothwdadda_bk-mul",
    rtl: Rtl = None,
    ports: Ports = None,
    include: Include = None,
    period_ps: Period = 300.0,
    keep_adders: Adders = False,
    script: Script = None,
    lookups: Annotated[
        bool, typer.Option("--lookups", help="Write out every table look-up, so that it can be redone by hand.")
    ] = False,
) -> None:
    """Explain how a weight's value changes a MAC, or what a finished run did: classes of tiles, changes of attention.

    For a weight: its rank among all values of a profile or, with a cell library, its longest path. For a layer: what
    decided the class of each tile in a finished run. For attention: what each attention of the run's packed model has
    in common with the model in full precision.
    """
    given = locals()
    if attention:
        if out is None or weight is not None or layer is not None:
            raise InputError("--attention must come with the output folder of a finished run, and without --weight "
                             "or --layer")  # fmt: skip
        _only(given, "--attention")
        from haloquant.cli.tile_explanation import show_attention

        show_attention(out, tokens)
        return
    if layer is not None:
        if out is None or weight is not None:
            raise InputError("--layer must come with the output folder of a finished run, and without --weight")
        _only(given, "--layer")
        from haloquant.cli.tile_explanation import show

        show(out, layer, method, rows)
        return
    if weight is None:
        raise InputError(
            "explain must be given --weight VALUE, or --layer NAME or --attention and the output folder of a run"
        )
    if out is not None:
        raise InputError("--weight must come without an output folder: it explains a MAC, and not a run")
    if not liberty:
        _only(given, "--weight without --liberty")
        _show_rank(profile, weight)
        return
    _only(given, "--liberty")
    from haloquant.api.macs.circuits import longest_path
    from haloquant.circuits.timing.path_report import HEADERS, path_rows, path_text

    found = longest_path(
        _design(mac, rtl, ports, include),
        liberty[0],
        weight=weight,
        ports=ports,
        include=include or (),
        period_s=period_ps * 1e-12,
        keep_adders=keep_adders,
        script=script,
    )
    path = found.path
    if lookups:
        stdout.print(path_text(path), highlight=False, markup=False, soft_wrap=True)
        return
    table = Table(
        *HEADERS, title=f"{found.mac} in {found.library}, weight {weight:g}: {engineering(path.delay_s, 's', 4)}"
    )
    for row in path_rows(path):
        table.add_row(*row)
    stdout.print(table)


def _design(mac: str, rtl: list[Path] | None, ports: Path | None, include: list[Path] | None) -> str | list[Path]:
    """Return the Verilog files if they are given with their ports, or else the name of a generated MAC."""
    if bool(rtl) == (ports is None):
        raise InputError("--rtl and --ports must be given together: a MAC of your own needs its ports declared")
    if include and not rtl:
        raise InputError("--include must come with --rtl: only Verilog of your own includes files")
    return rtl or mac


def _whole_numbers(text: str) -> list[int]:
    """Return the numbers of a list like 0,8,-8."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(f"--words must be whole numbers with commas between, not {text!r:.80}") from error


def _only(given: Mapping[str, object], form: str) -> None:
    """Refuse options that a form of `explain` does not heed."""
    refuse_others(explain, given, HEEDED[form], f"be left out with {form}, which does not heed it")


def _show_rank(profile: str, weight: float) -> None:
    """Print how a weight value's delay and energy compare with those of all values of the MAC."""
    from haloquant.api.macs.circuits import rank_weight

    mac, ranks = rank_weight(profile, weight)
    stdout.print(bold(mac.name, f", corner {mac.corners[0].name}: {mac.description}"))
    for found in ranks:
        if np.isnan(found.value):
            stdout.print(f"  {found.quantity}: not simulated, the profile holds delays only", highlight=False)
            continue
        stdout.print(
            f"  {found.quantity} of {weight:g}: {engineering(found.value, found.unit)}, rank {found.rank} of "
            f"{found.values}, {found.of_mean:.2f} of the mean, {found.of_most:.2f} of the most",
            highlight=False,
        )
    stdout.print("With --liberty and --mac the longest path is shown gate by gate.", style="dim")
