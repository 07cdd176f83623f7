"""Measure a MAC, and explain how the value of a weight changes its delay and energy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haloquant.api.arguments import check_range, path_text, path_texts
from haloquant.api.progress import Progress, reporting
from haloquant.circuits.characterization import typical_conditions
from haloquant.circuits.number_formats import weight_of
from haloquant.circuits.timing.paths import WorstPath, worst_path
from haloquant.dvfs.operating_points import rows_of
from haloquant.errors import InputError
from haloquant.jobs.mac import catalogue
from haloquant.jobs.mac import profile_building as mac_job
from haloquant.jobs.mac.mapping_search import Objective, search_mapping
from haloquant.records import MacProfile
from haloquant.store.profiles import find_profile, write_profile

DEFAULT_MAC = "boothwdadda_bk-mul"


@dataclass(frozen=True)
class ValueRank:
    """One quantity of one weight value, compared with all values of the MAC."""

    quantity: str
    """"delay" or "energy"."""
    unit: str
    """"s" or "J"."""
    value: float
    """The quantity in that unit; NaN if the profile does not hold it."""
    rank: int
    """1 is the smallest of all values."""
    values: int
    """Number of weight values."""
    of_mean: float
    """Divided by the mean over all values."""
    of_most: float
    """Divided by the largest over all values."""


@dataclass(frozen=True)
class MacPath:
    """The longest path of a MAC for one weight value, with the names of the MAC and the cell library."""

    mac: str
    library: str
    path: WorstPath


def characterize(
    mac: str | Path | Sequence[str | Path] = DEFAULT_MAC,
    liberty: str | Path | Sequence[str | Path] = (),
    *,
    ports: str | Path | None = None,
    include: str | Path | Sequence[str | Path] = (),
    period_s: float = 300e-12,
    keep_adders: bool = False,
    script: str | None = None,
    simulate: bool = True,
    partial_sums: str | Path = "demo",
    search: Objective | None = None,
    words: Sequence[int] = (),
    out: str | Path | None = None,
    progress: Progress = True,
) -> MacProfile:
    """Measure a MAC: synthesize it, check that it multiplies, time and simulate it for every weight value.

    Delays come from static timing of the mapped netlist with the weight held constant, energies from event-driven
    simulation of activation transitions, glitches included.

    Args:
        mac: Name of a generated MAC (`haloquant characterize --list`), or with `ports` the Verilog file of your own, or
            its files in the order in which Verilog reads them. Its top module is `mac`, or what the ports file says.
        liberty: Cell library (.lib, .lib.gz) with NLDM tables, or one file per corner of the same cells; the MAC is
            synthesized for the first.
        ports: TOML file that declares the ports of your own MAC.
        include: Folders in which files that your Verilog includes are looked for, after its own folder.
        period_s: Clock period in seconds that timing-driven synthesis aims at.
        keep_adders: Keep the full-adder structure of the design, and do not restructure it.
        script: How ABC restructures (a key of `haloquant.eda.yosys.ABC_SCRIPTS`); chosen by `keep_adders` if None.
        simulate: False measures delays only. Energies are then NaN, and functions that need energies refuse the
            profile.
        partial_sums: What partial sums are drawn from: "demo" (measured on the demo model), "gaussian", or a file.
        search: What to minimize over all scripts and three periods around `period_s`: "delay", "area-delay" or
            "area-delay-energy". None maps once, with `script` and `period_s`.
        words: The weight values that the search counts; empty means all.
        out: Profile file to write; none is written if None.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        Delay in seconds and energy per operation in joules of every weight value, at every corner: arrays
        [corner, weight value].

    Raises:
        InputError: An argument is not allowed, or a file does not exist or is damaged.
        NetlistError: The MAC does not compute weight * activation + partial. (An InputError.)
        ToolError: Yosys failed.
        MissingExtraError: Pyosys is not installed.

    Example:
        ```python
        import haloquant

        mac = haloquant.characterize("boothwdadda_bk-mul", "cells.lib.gz", out="my.profile.json")
        print(f"slowest weight value: {mac.delay_s[0].max() * 1e12:.0f} ps")
        ```
    """
    shown = reporting(progress)
    if isinstance(liberty, Sequence) and not liberty:
        raise InputError("characterize needs a cell library (liberty: a .lib or .lib.gz file, one for every corner)")
    corners = [Path(file) for file in path_texts("liberty", liberty)]
    check_range("period_s", period_s, 1e-12, 1e-3)
    source, sums = find_mac(mac, ports, include), path_text("partial_sums", partial_sums)
    if search is not None and (keep_adders or script is not None):
        raise InputError("a search of the mapping must be without script and keep_adders: it tries every script")
    if words and search is None:
        raise InputError("words must come with a search of the mapping (search), which counts them")
    said: dict[str, str] = {}
    with shown as report:
        if search is not None:
            found = search_mapping(
                source, corners[0], period_s, search, words=words,
                progress=lambda done, total: report("search the mapping", done, total),
            )  # fmt: skip
            script, period_s = found.best.script, found.best.period_s
            said = {"mapping_search": found.said}
        measured = mac_job.characterize_mac(
            source,
            corners,
            period_s,
            keep_adders=keep_adders,
            script=script,
            dynamic=simulate,
            partial_sums=sums,
            provenance=said,
            progress=report,
        )
    if out is not None:
        write_profile(measured, Path(path_text("out", out)))
    return measured


def longest_path(
    mac: str | Path | Sequence[str | Path],
    liberty: str | Path,
    *,
    weight: int | float,
    ports: str | Path | None = None,
    include: str | Path | Sequence[str | Path] = (),
    period_s: float = 300e-12,
    keep_adders: bool = False,
    script: str | None = None,
) -> MacPath:
    """Synthesize a MAC and find its longest path for one weight value, gate by gate.

    Args:
        mac: As in `characterize`.
        liberty: Cell library (.lib, .lib.gz) with NLDM tables.
        weight: Weight value that is held constant.
        ports: As in `characterize`.
        include: As in `characterize`.
        period_s: Clock period in seconds that timing-driven synthesis aims at.
        keep_adders: As in `characterize`.
        script: As in `characterize`.

    Returns:
        Every gate of the path with its table look-ups; times in seconds, capacitances in farads.

    Raises:
        InputError: An argument is not allowed, or a file does not exist or is damaged.
        ToolError: Yosys failed.
        MissingExtraError: Pyosys is not installed.

    Example:
        ```python
        from haloquant.api import longest_path

        found = longest_path("boothwdadda_bk-mul", "cells.lib.gz", weight=-86)
        print(f"{found.path.delay_s * 1e12:.0f} ps through {len(found.path.steps)} gates")
        ```
    """
    check_range("period_s", period_s, 1e-12, 1e-3)
    source, file = find_mac(mac, ports, include), Path(path_text("liberty", liberty))
    _, netlist, library = mac_job.synthesize_mac(source, file, period_s, keep_adders=keep_adders, script=script)
    value = weight_of(weight, source.ports.weight_format)
    return MacPath(source.name, library.name, worst_path(netlist, library, value, typical_conditions(library)))


def rank_weight(profile: str | Path, weight: int | float) -> tuple[MacProfile, tuple[ValueRank, ValueRank]]:
    """Compare a weight value's delay and energy with those of all values of a MAC, at its first corner.

    Args:
        profile: Name of a shipped profile, or a file that `characterize` wrote.
        weight: The weight value: a whole number, or a float where the MAC takes floats.

    Returns:
        The profile, and the ranks of the delay (s) and of the energy (J).

    Raises:
        InputError: There is no such profile.
        ProfileError: The profile does not hold the value. (An InputError.)

    Example:
        ```python
        from haloquant.api import rank_weight

        profile, (delay, energy) = rank_weight("default", -86)
        print(f"rank {delay.rank} of {delay.values}: {delay.value * 1e12:.0f} ps")
        ```
    """
    mac = find_profile(path_text("profile", profile))
    place = int(rows_of(mac, [weight_of(weight, mac.weight_format)], "the weight")[0])
    return mac, (_rank("delay", "s", mac.delay_s[0], place), _rank("energy", "J", mac.energy_j[0], place))


def _rank(quantity: str, unit: str, values: np.ndarray, place: int) -> ValueRank:
    value, count = float(values[place]), len(values)
    if np.isnan(values).all():
        return ValueRank(quantity, unit, value, 0, count, value, value)
    smaller = int((values < value).sum())
    mean, most = float(np.nanmean(values)), float(np.nanmax(values))
    return ValueRank(quantity, unit, value, smaller + 1, count, value / mean, value / most)


def find_mac(
    mac: str | Path | Sequence[str | Path],
    ports: str | Path | None = None,
    include: str | Path | Sequence[str | Path] = (),
) -> catalogue.MacSource:
    """Return a generated MAC by its name or, with `ports`, your own from its Verilog files.

    Raises:
        InputError: There is no MAC of that name, or a file does not exist or is damaged.
    """
    if ports is not None:
        files = [Path(one) for one in path_texts("mac", mac)]
        folders = [Path(one) for one in path_texts("include", include)] if include else []
        return catalogue.mac_from_rtl(files, Path(path_text("ports", ports)), folders)
    if include:
        raise InputError("folders of included files (include) must come with Verilog and its ports")
    return catalogue.generated_mac(path_text("mac", mac))


def mac_names() -> list[str]:
    """Return the names of all MACs that can be generated."""
    return catalogue.mac_names()
