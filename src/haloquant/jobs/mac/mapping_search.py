"""Search the mapping of a MAC: every synthesis script at several target periods, judged by a declared objective.

A script that is good in one library is bad in another, and the same holds for units and periods. So two units are
compared fairly only if both were searched alike. Every trial is kept under the hash of all that it depends on: the
Verilog, the parts, the script, the period, the library, the version of Yosys and the code of this package that maps,
times and simulates.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import msgspec
import numpy as np
from platformdirs import user_cache_path

from haloquant.circuits.characterization import cell_area_m2, mac_stimuli, typical_conditions
from haloquant.circuits.ports import weight_values
from haloquant.circuits.simulation.dot_products import word_energies
from haloquant.circuits.simulation.floating_point import float_energies
from haloquant.circuits.simulation.value_table import simulate_values
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.eda.yosys import find_yosys
from haloquant.errors import InputError, NetlistError, ToolError
from haloquant.jobs.mac.catalogue import MacSource
from haloquant.jobs.mac.profile_building import partial_sums_for, synthesize_mac
from haloquant.source_code import source_sha256
from haloquant.store.atomic_files import read_bounded, sha256_bytes, write_bytes

Objective = Literal["delay", "area-delay", "area-delay-energy"]
SCRIPTS = ("balance", "depth", "nf", "speedup")
PERIODS = (0.7, 1.0, 1.4)  # of the target period
_CODE = ("circuits", "eda/yosys.py", "jobs/mac")
_LIMIT_BYTES = 1 << 20
_WORDS = 16  # at most this many words are simulated for the energy of a trial


class Trial(msgspec.Struct, frozen=True):
    """One mapping: its delay is that of the slowest of the words, its energy the mean of (some of) them.

    `energy_j` is NaN if the objective does not ask for it.
    """

    script: str
    period_s: float
    delay_s: float
    area_m2: float
    energy_j: float

    def cost(self, objective: Objective) -> float:
        """Return what the search minimizes."""
        if objective == "delay":
            return self.delay_s
        return self.delay_s * self.area_m2 * (self.energy_j if objective == "area-delay-energy" else 1.0)


class _Measured(msgspec.Struct):
    delay_s: list[float]
    area_m2: float
    energy_j: list[float]


@dataclass(frozen=True)
class MappingSearch:
    """The trials of a search, best first, and what could not be mapped, with the reason."""

    objective: Objective
    words: tuple[int, ...]
    trials: tuple[Trial, ...]
    failed: tuple[str, ...]

    @property
    def best(self) -> Trial:
        """The trial with the least cost; in a tie the one of the smaller area, then of the first script."""
        return self.trials[0]

    @property
    def said(self) -> str:
        """One line for the profile's provenance."""
        over = "all values" if not self.words else f"{len(self.words)} words"
        return (
            f"least {self.objective.replace('-', ' x ')} over {over} of {len(self.trials)} mappings; "
            f"{self.best.script} at {self.best.period_s:.4g} s"
        )


def search_mapping(
    source: MacSource,
    liberty: Path,
    period_s: float,
    objective: Objective,
    *,
    words: Sequence[int] = (),
    scripts: Sequence[str] = SCRIPTS,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MappingSearch:
    """Return the mappings of a MAC by every script at 0.7, 1 and 1.4 times a period, best first.

    Args:
        source: The MAC.
        liberty: The cell library.
        period_s: The period in seconds around which mapping aims.
        objective: What is minimized: the delay, area x delay, or area x delay x energy.
        words: The weight values that count; empty means all that the MAC holds.
        scripts: Keys of `eda.yosys.ABC_SCRIPTS` to try.
        cache: Folder of finished trials; None means the user's cache folder.
        progress: Called with the number of trials done and of all.

    Raises:
        InputError: The objective is unknown, or the MAC does not hold one of the words.
        ToolError: No script could map the MAC; the message is that of the last one.
    """
    if objective not in get_args(Objective):
        raise InputError(f"the objective must be one of {', '.join(get_args(Objective))}, not {objective!r}")
    values = weight_values(source.ports)
    missing = sorted(set(words) - set(values.tolist()))
    if missing:
        raise InputError(f"the MAC {source.name} must hold every word of the search, but does not hold {missing[0]}")
    chosen = np.flatnonzero(np.isin(values, list(words))) if words else np.arange(values.size)
    folder = user_cache_path("haloquant") / "mappings" if cache is None else cache
    library_sha256 = sha256_bytes(liberty.read_bytes())
    runs = [(script, factor * period_s) for script in scripts for factor in PERIODS]
    trials: list[Trial] = []
    failed: list[str] = []
    for done, (script, period) in enumerate(runs):
        try:
            found = _measure(source, liberty, period, script, objective, chosen, folder, library_sha256)
        except (ToolError, NetlistError) as error:
            failed.append(f"{script} at {period:.4g} s: {error}")
            continue
        energy = float(np.mean(found.energy_j)) if found.energy_j else float("nan")
        delay = float(np.array(found.delay_s)[chosen].max())
        trials.append(Trial(script, period, delay, found.area_m2, energy))
        if progress:
            progress(done + 1, len(runs))
    if not trials:
        raise ToolError(f"no script could map {source.name}: {failed[-1]}")
    order = sorted(trials, key=lambda trial: (trial.cost(objective), trial.area_m2, scripts.index(trial.script)))
    return MappingSearch(objective, tuple(words), tuple(order), tuple(failed))


def _measure(
    source: MacSource,
    liberty: Path,
    period_s: float,
    script: str,
    objective: Objective,
    chosen: np.ndarray,
    folder: Path,
    library_sha256: str,
) -> _Measured:
    """Return what one mapping measures, from the cache if it was measured before."""
    simulated = chosen[np.unique(np.linspace(0, chosen.size - 1, _WORDS).astype(int))]
    sampled = simulated.tolist() if objective == "area-delay-energy" else []
    parts = (repr(source), library_sha256, script, f"{period_s:.6e}", find_yosys().version, sampled)
    entry = folder / f"{sha256_bytes(msgspec.json.encode(parts))}-{source_sha256(_CODE)[:16]}.json"
    try:
        return msgspec.json.decode(read_bounded(entry, _LIMIT_BYTES), type=_Measured)
    except (InputError, OSError, msgspec.MsgspecError):
        pass  # not measured yet, or the entry is damaged
    _, netlist, library = synthesize_mac(source, liberty, period_s, script=script)
    around = typical_conditions(library)
    energy: list[float] = []
    if sampled and source.ports.multiples:
        energy = word_energies(netlist, library, around)[0][simulated].tolist()
    elif sampled and source.ports.floating:
        energy = float_energies(netlist, library, around)[simulated].tolist()
    elif sampled:
        stimuli = mac_stimuli(source.ports, partial_sums_for(source.ports, "demo")[0])
        weights = weight_values(source.ports)[simulated]
        energy = simulate_values(netlist, library, weights, stimuli, around).energy_j[0].tolist()
    found = _Measured(static_delays(netlist, library, None, around).tolist(), cell_area_m2(netlist, library), energy)
    with suppress(OSError):  # the cache is optional
        write_bytes(entry, msgspec.json.encode(found))
    return found
