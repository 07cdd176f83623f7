"""Make the profiles that the package ships. Usage: python bench/make_profiles.py LIBERTY_FOLDER [--check] [NAME ...]

With --check nothing is written: the MAC is synthesized again, timed for all weights and simulated for eight of them,
and the relative difference to the shipped profile is printed. Profiles have six digits, so up to 5e-7 is rounding.

LIBERTY_FOLDER holds nangate45/, asap7/ and sky130hd/ with their .lib.gz files. Prints one JSON line for each profile.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from haloquant.circuits.characterization import (
    characterize,
    exhaustive_simulation,
    mac_stimuli,
    sampled_simulation,
    typical_conditions,
)
from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Netlist
from haloquant.circuits.rtl.bypass import Bypass
from haloquant.circuits.rtl.generator import MacSpec
from haloquant.circuits.simulation.value_table import simulate_values
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.eda.yosys import Synthesis
from haloquant.jobs.mac.catalogue import MacSource, generated_mac, mac_from_spec
from haloquant.jobs.mac.mapping_search import SCRIPTS, search_mapping
from haloquant.jobs.mac.profile_building import characterize_mac, partial_sums_for, synthesize_mac
from haloquant.store.cell_libraries import read_library
from haloquant.store.profiles import SUFFIX, read_profile, write_profile

OUT = Path(__file__).resolve().parents[1] / "src" / "haloquant" / "data" / "profiles"
SS_COLD = [f"sky130hd/sky130hd_ss_n40C_{v}" for v in ("1v28", "1v35", "1v40", "1v44", "1v60", "1v76")]
CORNERS = {
    "nangate45": ["nangate45/nangate45_typ"],
    "asap7": ["asap7/trim_asap7_rvt_tt"],
    "sky130hd": ["sky130hd/sky130hd_tt_025C_1v80", *SS_COLD],
}
PERIOD_S = {"nangate45": 300e-12, "asap7": 250e-12, "sky130hd": 1200e-12}  # below what any of them meets


@dataclass(frozen=True)
class Recipe:
    """One profile: the unit, how it is mapped, and its period relative to the library's."""

    library: str
    spec: MacSpec
    script: str = "balance"
    keep: bool = False
    period: float = 1.0  # of the whole unit; its parts' periods are relative to it
    corners: tuple[str, ...] = ()  # all of the library's where empty

    @property
    def name(self) -> str:
        """File and profile name."""
        return f"{self.library}-{self.spec.name}-{'fa' if self.keep else 'abc'}"


def _stored(bypass: Bypass) -> MacSpec:
    return MacSpec(rows="digits", adder="ks", bypass=bypass)


def _of(library: str) -> list[Recipe]:
    typical = CORNERS[library][:1]
    whole = MacSpec(rows="digits", adder="ks", bypass="both", stage="save")
    return [
        Recipe(library, _stored("lone")),
        Recipe(library, _stored("both"), corners=tuple(typical)),
        Recipe(library, _stored("none"), corners=tuple(typical)),
        Recipe(library, MacSpec(), script="sharing", period=1.5, corners=tuple(typical)),
        Recipe(library, MacSpec(rows="sx", tree="array", adder="rca"), "keep", keep=True, corners=tuple(typical)),
        Recipe(library, whole, corners=tuple(typical)),
        Recipe(library, replace(whole, bypass="lone"), corners=tuple(typical)),
        Recipe(library, replace(whole, bypass="none"), corners=tuple(typical)),
    ]


RECIPES = [recipe for library in CORNERS for recipe in _of(library)]
RECIPES += [
    Recipe("asap7", _stored("upper")),
    Recipe("asap7", MacSpec(rows="sm", adder="ks")),
    # The fastest in Nangate45 that accumulates and does all values: what the others there are measured against.
    Recipe("nangate45", MacSpec(rows="digits", adder="ks", stage="pipe", accumulator="ks")),
]
# The profile figure-4: the unit whose delays look most like that figure of the HALO paper (bench/figure4_search.py).
NEAREST = MacSpec(rows="sm", tree="array", adder="bk")
RECIPES += [Recipe("sky130hd", NEAREST, "keep", keep=True, period=1 / 12, corners=("sky130hd/sky130hd_tt_025C_1v80",))]
SERIAL = ("asap7", "nangate45")
# Whole processing elements. All are searched alike, with the least area x delay; the words of HALO's fast class count
# where a unit has bypasses for them, all values elsewhere.
ELEMENT_PERIOD_S = {"asap7": 180e-12, "nangate45": 260e-12, "sky130hd": 900e-12}
DOT_PERIOD_S = {"asap7": 200e-12, "nangate45": 320e-12, "sky130hd": 1200e-12}
DOT_SCRIPTS = {"asap7": ("nf",), "nangate45": ("balance",), "sky130hd": ("balance",)}
DOTS = [
    f"{kind}x{products}-dot"
    for kind in ("booth4", "int4m", "e2m1", "onedigit")
    for products in ("1", "4", "8c4", "16c4")
]
NINE = (-64, -32, -16, -8, 0, 8, 16, 32, 64)
ELEMENTS = [
    MacSpec(rows="digits", stage="cs4"),
    MacSpec(rows="digits", stage="cs4", weight_bits=4),
    MacSpec(rows="bw", stage="cs4", weight_bits=3),
    MacSpec(rows="onedigit", stage="cs4", weight_bits=4),
    MacSpec(rows="digits", stage="cs4", bypass="lone"),
    MacSpec(rows="digits", stage="cs4", bypass="both"),
    MacSpec(rows="digits", adder="ks", stage="reg", bypass="lone"),
    MacSpec(rows="digits", adder="ks", stage="reg", bypass="both"),
]


def make_element(library: str, spec: MacSpec, folder: Path) -> dict[str, object]:
    """Search the mapping of a processing element, characterize it, write its profile."""
    words = NINE if spec.bypass != "none" else ()
    return _searched(library, mac_from_spec(spec), folder, ELEMENT_PERIOD_S[library], SCRIPTS, words, OUT)


def make_dot_product(library: str, name: str, folder: Path) -> dict[str, object]:
    """Search the mapping of a dot-product element by one script, characterize it, write its profile."""
    period_s, scripts = DOT_PERIOD_S[library], DOT_SCRIPTS[library]
    return _searched(library, generated_mac(name), folder, period_s, scripts, (), OUT / "dot_products")


def _searched(
    library: str,
    source: MacSource,
    folder: Path,
    period_s: float,
    scripts: Sequence[str],
    words: Sequence[int],
    out: Path,
) -> dict[str, object]:
    started = time.perf_counter()
    liberty = folder / f"{CORNERS[library][0]}.lib.gz"
    found = search_mapping(source, liberty, period_s, "area-delay", words=words, scripts=scripts)
    said = {"mapping_search": found.said, "corners_from": CORNERS[library][0]}
    said |= {} if source.ports.multiples else {"energy": ENERGY}
    measured = characterize_mac(source, [liberty], found.best.period_s, script=found.best.script, provenance=said)
    name = f"{library}-{source.name}-abc"
    profile = replace(measured, name=name, description=f"{library}: {source.description}")
    write_profile(profile, out / f"{name}{SUFFIX}")
    if source.ports.multiples:
        return {
            "profile": name,
            "slowest_ps": round(profile.delay_s.max() * 1e12, 1),
            "mean_energy_fj": round(float(profile.energy_j[0].mean()) * 1e15, 1),
            "area_um2": round(profile.area_m2 * 1e12, 1),
            "search": found.said,
            "trials": [(t.script, round(t.period_s * 1e12), round(t.delay_s * 1e12, 1), round(t.area_m2 * 1e12, 1))
                       for t in found.trials],
            "seconds": round(time.perf_counter() - started, 1),
        }  # fmt: skip
    fast = profile.delay_s[0][np.isin(profile.weights, NINE)]
    return {
        "profile": name,
        "slowest_ps": round(profile.delay_s.max() * 1e12, 1),
        "nine_ps": round(fast.max() * 1e12, 1),
        "mean_energy_fj": round(float(profile.energy_j[0].mean()) * 1e15, 1),
        "area_um2": round(profile.area_m2 * 1e12, 1),
        "search": found.said,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _mapped(recipe: Recipe, folder: Path, corners: Sequence[str]) -> tuple[Synthesis, Netlist, Library]:
    return synthesize_mac(
        mac_from_spec(recipe.spec),
        folder / f"{corners[0]}.lib.gz",
        PERIOD_S[recipe.library] * recipe.period,
        keep_adders=recipe.keep,
        script=recipe.script,
    )


def make(recipe: Recipe, folder: Path) -> dict[str, object]:
    """Synthesize, check, characterize, write."""
    started = time.perf_counter()
    corners = recipe.corners or CORNERS[recipe.library]
    mapped, netlist, first = _mapped(recipe, folder, corners)
    libraries = [first, *(read_library(folder / f"{name}.lib.gz") for name in corners[1:])]
    sums, said = partial_sums_for(netlist.ports, "demo")

    def dynamic(net: Netlist, library: Library, around: Conditions):
        return (exhaustive_simulation if library is first else sampled_simulation)(net, library, around, sums)

    profile = characterize(
        netlist,
        libraries,
        name=recipe.name,
        description=f"{recipe.library}: {recipe.spec.description}",
        dynamic=dynamic,
        provenance={**mapped.provenance, "corners_from": ", ".join(corners), "energy": ENERGY, "partial_sums": said},
    )
    write_profile(profile, OUT / f"{recipe.name}{SUFFIX}")
    delay = sorted(profile.delay_s[0])
    return {
        "profile": recipe.name,
        "gates": len(netlist.gates),
        "slowest_ps": round(delay[-1] * 1e12, 1),
        "sixteen_ps": round(delay[15] * 1e12, 1),
        "nine_ps": round(delay[8] * 1e12, 1),
        "mean_energy_fj": round(float(profile.energy_j[0].mean()) * 1e15, 1),
        "area_um2": round(profile.area_m2 * 1e12, 1),
        "seconds": round(time.perf_counter() - started, 1),
    }


def check(recipe: Recipe, folder: Path) -> dict[str, object]:
    """Return the relative differences between a shipped profile and what this code computes, at its first corner."""
    corners = recipe.corners or CORNERS[recipe.library]
    _, netlist, library = _mapped(recipe, folder, corners)
    shipped = read_profile(OUT / f"{recipe.name}{SUFFIX}")
    around = typical_conditions(library)
    delay_s = static_delays(netlist, library, shipped.weights, around)
    at = np.linspace(0, shipped.weights.size - 1, 8).astype(int)
    stimuli = mac_stimuli(netlist.ports, partial_sums_for(netlist.ports, "demo")[0])
    found = simulate_values(netlist, library, shipped.weights[at], stimuli, around)
    moving = delay_s > 0
    return {
        "profile": recipe.name,
        "same_gates": str(len(netlist.gates)) == shipped.provenance["gates"],
        "delay_off": float(np.abs(shipped.delay_s[0][moving] / delay_s[moving] - 1).max()),
        "energy_off": float(np.abs(shipped.energy_j[0, at] / found.energy_j[0] - 1).max()),
    }


def make_serial(library: str, folder: Path) -> dict[str, object]:
    """The bit-serial MAC: the time of all its cycles, within a percent the same for every weight.

    Its registers feed themselves, which is not simulated, so it has no energy and no sensitised delay.
    """
    source = generated_mac("serial")
    corner, cycles = CORNERS[library][0], source.ports.latency
    mapped, netlist, first = synthesize_mac(source, folder / f"{corner}.lib.gz", PERIOD_S[library])
    name = f"{library}-serial-abc"
    profile = characterize(
        netlist,
        [first],
        name=name,
        description=f"{library}: {source.description}; delay is that of all {cycles} cycles; no energy",
        provenance={**mapped.provenance, "corners_from": corner, "energy": "not simulated"},
    )
    profile = replace(profile, delay_s=profile.delay_s * cycles)
    write_profile(profile, OUT / f"{name}{SUFFIX}")
    return {
        "profile": name,
        "gates": len(netlist.gates),
        "slowest_ps": round(profile.delay_s.max() * 1e12, 1),
        "area_um2": round(profile.area_m2 * 1e12, 1),
    }


ENERGY = (
    "mean over activation transitions, all equally probable: 65,536 at the first corner, 4,096 drawn at the others "
    "(with a partial sum: 8,192 drawn at the first); "
    "switching of gate outputs plus internal; activation pins and leakage excluded"
)


def main() -> None:
    """Make all of them, or those whose name contains one of the arguments, in the order of the arguments."""
    folder, *wanted = sys.argv[1:]
    work = check if "--check" in wanted else make
    wanted = [word for word in wanted if word != "--check"]
    serial = [f"{library}-serial-abc" for library in SERIAL]
    for word in wanted or [""]:
        for library in ELEMENT_PERIOD_S:
            for spec in ELEMENTS:
                if word in f"{library}-{spec.name}-abc" and work is make:
                    print(json.dumps(make_element(library, spec, Path(folder))), flush=True)
            for name in DOTS:
                if word in f"{library}-{name}-abc" and work is make:
                    print(json.dumps(make_dot_product(library, name, Path(folder))), flush=True)
        for recipe in RECIPES:
            if word in recipe.name:
                print(json.dumps(work(recipe, Path(folder))), flush=True)
        for name in serial:
            if word in name and work is make:
                print(json.dumps(make_serial(name.partition("-")[0], Path(folder))), flush=True)


if __name__ == "__main__":
    main()
