"""Simulate a model, or a named shape without weights, on an accelerator: HALO and its rivals on the same machine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from haloquant.accel.results import Simulation
from haloquant.accel.target import GpuTarget, Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.api.arguments import check_choice, check_range, path_text
from haloquant.api.machines.inputs import (
    active_notes,
    asked_input_bits,
    check_phases,
    density_notes,
    floating_notes,
    input_bits_notes,
    open_on,
    passes_of,
)
from haloquant.api.progress import Progress, Report, reporting, tracked
from haloquant.errors import InputError
from haloquant.jobs.machines import systems
from haloquant.jobs.machines.element_systems import known_elements
from haloquant.jobs.machines.new_silicon import PLAIN_ELEMENT, NewSilicon, compare_on_new_silicon
from haloquant.jobs.machines.own_clocks import limited, own_clocks, scaled_clock_note
from haloquant.jobs.machines.supply_law import SupplyLaw, choose_supply_law
from haloquant.jobs.machines.systems import QuantizedModel, at_lower_supplies
from haloquant.records import MacProfile, OperatingPoint
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_target, shipped_targets

Mode = Literal["boost", "eco"]
Clock = Literal["machine", "own"]


@dataclass(frozen=True)
class SystemRun:
    """One system (a way to quantize) in one phase."""

    name: str
    """Such as "W8A8" or "HALO (boost)"."""
    points: tuple[OperatingPoint, ...]
    """Clock in hertz and supply in volts of each tile class, fastest class first."""
    simulation: Simulation
    """Time in seconds and energy in joules, in total, by layer and by segment of the timeline."""


@dataclass(frozen=True)
class MachineComparison:
    """HALO and its rivals (FP16, W8A8, W4A8, W3A8) on one machine, in the prefill and in one decode step.

    `runs` has the premise of given silicon: one MAC for all, only weights and clocks may change. `new_silicon` has the
    other premise: equal area, every system on the element that suits it best.
    """

    model: str
    machine: Target
    runs: tuple[SystemRun, ...]
    """Prefill first; HALO last in each phase."""
    notes: tuple[str, ...]
    """Sentences on the assumptions of the simulation."""
    new_silicon: NewSilicon | None = None
    """The same systems at equal area, each on its best element; None if no element of the library is known."""

    @property
    def simulations(self) -> tuple[Simulation, ...]:
        """The simulations of `runs`."""
        return tuple(run.simulation for run in self.runs)

    def simulation(self, phase: str, system: str = "HALO") -> Simulation:
        """Return the simulation of one system in one phase.

        Args:
            phase: "prefill" or "decode".
            system: Beginning of the system's name: "HALO", "FP16", "W8A8", "W4A8" or "W3A8".

        Raises:
            InputError: There is none.
        """
        for run in self.runs:
            if run.simulation.phase == phase and run.name.startswith(system):
                return run.simulation
        known = ", ".join(dict.fromkeys(f"{run.simulation.phase} of {run.name}" for run in self.runs))
        raise InputError(f"the simulation must be one of {known}, not {phase} of {system}")

    def speedup(self, phase: str, rival: str = "W8A8") -> float:
        """Return the rival's time divided by HALO's; above 1 HALO is faster.

        Args:
            phase: "prefill" or "decode".
            rival: "FP16", "W8A8", "W4A8" or "W3A8".

        Raises:
            InputError: There is no such phase or rival.
        """
        return self.simulation(phase, rival).time_s / self.simulation(phase).time_s

    def energy_ratio(self, phase: str, rival: str = "W8A8") -> float:
        """Return the rival's energy divided by HALO's; above 1 HALO draws less.

        Args:
            phase: "prefill" or "decode".
            rival: "FP16", "W8A8", "W4A8" or "W3A8".

        Raises:
            InputError: There is no such phase or rival.
        """
        ours, theirs = self.simulation(phase), self.simulation(phase, rival)
        return theirs.total.total_energy_j / ours.total.total_energy_j


def list_targets() -> dict[str, Target | GpuTarget]:
    """Return the machines that come with the package, by name: systolic arrays, and GPUs and a CPU as rooflines.

    Example:
        ```python
        from haloquant.api import list_targets

        for name, target in list_targets().items():
            print(name, target.description)
        ```
    """
    return {name: read_target(name) for name in shipped_targets()}


def simulate(
    model: str | Path,
    target: str | Path = "edge_lpddr5x",
    *,
    profile: str | Path = "default",
    mode: Mode = "boost",
    prefill_tokens: int = 2048,
    context_tokens: int = 2048,
    batch: int = 1,
    fast_share: float = 0.8,
    against: Sequence[str | Path] = (),
    area_mm2: float | None = None,
    every_element: bool = False,
    clock: Clock = "machine",
    delay_factor: float = 1.0,
    density: float | None = None,
    activation_bits: int | None = None,
    low_share: float = 0.0,
    low_bits: int = 4,
    progress: Progress = True,
) -> MachineComparison:
    """Simulate a model on an accelerator, with HALO and with FP16, W8A8, W4A8 and W3A8.

    Args:
        model: Packed model folder; or any model that is not quantized: a named shape such as "llama3.1-8b" or
            "deepseek-v3", a folder in Hugging Face format, a config.json, a GGUF file, or a name in the hub's cache.
            Its weights are not read: tiles are drawn at random for Gaussian weights.
        target: Machine: the name of a shipped target (`haloquant targets`), or a TOML file.
        profile: MAC: the name of a shipped profile, or a file that `characterize` wrote. A packed model needs the
            profile that it was made for.
        mode: "boost" raises the clock at the same supply; "eco" lowers the supply at the machine's base clock, for all
            systems. The delay at a lower supply is measured if the profile has three voltages, else assumed; a note
            says which.
        prefill_tokens: Tokens of the prefill.
        context_tokens: Tokens in the cache at the decode step.
        batch: Sequences that are decoded together.
        fast_share: Share of tiles in the fast class, 0 to 1; only for a model that is not packed.
        against: Further elements for new silicon: names of shipped profiles, or files.
        area_mm2: Area of all arrays in new silicon, in square millimetres; None means what the machine's arrays take
            if they are made of the plain 8-bit element.
        every_element: Whether new silicon also runs elements that another one beats in rate per area and in energy.
        clock: "machine": the given MAC's slowest value takes one period of the machine's base clock, and in new silicon
            the plain 8-bit element's does. "own": in both, a profile's own delays set the clocks, and the machine's
            base clock is the limit.
        delay_factor: With clock "own", the period over the delay of the gates: room for wires, skew and variation.
        density: Share of its inputs that a generated token multiplies in every quantized layer but the head, 0.01 to 1,
            in HALO and the integer rivals. None takes what a packed model with sparse inputs stores, else 1.
        activation_bits: Bits of the rounded inputs of every quantized layer, 2 to 16, in HALO and the integer rivals.
            They set the bytes of inputs that move. A MAC that takes fewer bits runs several times over a layer; one
            that takes more saves nothing. None takes what a packed model with mixed activations stores, else as many
            as the MAC's.
        low_share: Share of the tokens whose inputs have `low_bits` instead, 0 to 1.
        low_bits: Bits of the inputs of these tokens, fewer than `activation_bits`.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        A simulation per phase and system, on the given MAC and in new silicon; times in seconds, energies in joules.

    Raises:
        InputError: An argument is not allowed, there is no such model, machine or profile, the packed model was made
            for another profile, or no element fits the area.

    Example:
        ```python
        import haloquant

        found = haloquant.simulate("llama2-7b", "tpuv4i_like")
        print(f"prefill: {found.speedup('prefill'):.2f}x as fast as W8A8")
        ```
    """
    check_choice("mode", mode, get_args(Mode))
    check_choice("clock", clock, get_args(Clock))
    check_range("delay_factor", delay_factor, 1.0, 100.0)
    if clock == "machine" and delay_factor != 1:
        raise InputError(f"delay_factor needs clock own, not clock {clock}")
    check_phases(prefill_tokens, context_tokens, batch, fast_share)
    if area_mm2 is not None:
        check_range("area_mm2", area_mm2, 1e-9, 1e6)
    if density is not None:
        check_range("density", density, 0.01, 1.0)
    bits = asked_input_bits(activation_bits, low_share, low_bits)
    named = [find_profile(path_text("against", name)) for name in against]
    with reporting(progress) as report:
        machine, loaded = open_on(model, target, profile, fast_share)
        loaded = replace(loaded, density=None if density is None else float(density))
        loaded = replace(loaded, input_bits=bits or loaded.input_bits)
        passes = passes_of(loaded, prefill_tokens, context_tokens, batch)
        classes = loaded.classes
        own = own_clocks(machine, classes.profile, classes.corner, float(delay_factor)) if clock == "own" else None
        given, unlimited, used = (own.machine, own.unlimited, own.used) if own else (machine, machine, 1.0)
        law = choose_supply_law(classes.profile, machine) if mode == "eco" else None
        todo = [
            (
                workload,
                at_lower_supplies(system, machine, law, unlimited.base)
                if law
                else limited(system, machine)
                if own
                else system,
            )
            for workload in passes
            for system in (
                *systems.rival_systems(loaded, workload, unlimited),
                systems.halo_system(loaded, workload, unlimited),
            )
        ]
        runs: list[SystemRun] = []
        for workload, system in tracked(todo, report, "given silicon"):
            simulation = systems.run_system(system, workload, given, loaded, used=used)
            runs.append(SystemRun(system.name, tuple(system.points) or (system.untiled or given.base,), simulation))
        notes = [*active_notes(loaded), *floating_notes(loaded, passes[0]), *density_notes(loaded, machine)]
        notes += input_bits_notes(loaded)
        notes += [note for run in runs for note in run.simulation.notes]
        if law:
            notes.append(f"delay at a lower supply, {law.source}")
        if own:
            notes.append(own.note)
        elif machine.array.claimed_clocks:
            notes.append(f"{machine.name}: {machine.description}")
        else:
            notes.append(scaled_clock_note(machine, classes.profile, classes.corner))
        new = _on_new_silicon(
            loaded, passes, machine, named, area_mm2, every_element, delay_factor if own else None, law, notes, report
        )
    return MachineComparison(loaded.name, machine, tuple(runs), tuple(dict.fromkeys(notes)), new)


def _on_new_silicon(
    loaded: QuantizedModel,
    passes: Sequence[Workload],
    machine: Target,
    named: Sequence[MacProfile],
    area_mm2: float | None,
    every: bool,
    delay_factor: float | None,
    law: SupplyLaw | None,
    notes: list[str],
    report: Report,
) -> NewSilicon | None:
    """Return the comparison at equal area, or None with a note that says why there is none."""
    if machine.array.claimed_clocks:
        notes.append(f"no comparison in new silicon: {machine.name} claims its clocks, and no element sets them")
        return None
    elements = known_elements(loaded.classes.profile, named)
    if not elements:
        notes.append(
            f"no comparison in new silicon: no whole processing element of {loaded.classes.profile.name}'s cell "
            f"library is known; make some with `haloquant characterize --mac {PLAIN_ELEMENT} --search area-delay`, and "
            "name them with --against"
        )
        return None
    area_m2 = None if area_mm2 is None else area_mm2 * 1e-6
    new = compare_on_new_silicon(
        loaded, passes, machine, elements, area_m2, every, partial(report, "new silicon"), delay_factor, law
    )
    notes.extend(new.notes)
    return new
