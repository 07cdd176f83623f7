"""Write the report's warnings: sentences that say where HALO gains nothing, and by how much, with their numbers."""

from haloquant.report.results import MethodRow, ProfileRow, Results
from haloquant.report.tables import cost_of, headline, targets_and_phases
from haloquant.store.paper_figures import read_mac
from haloquant.store.profiles import PAPER_MAC

SMALL_GAIN = 1.05
TOO_WIDE = "this MAC has fewer weight values than the integers of the method"


def find_warnings(results: Results) -> list[str]:
    """Return every warning that applies to these results."""
    found = [*_clock(results.profile)]
    names = [m.name for m in results.methods]
    if any(name.startswith("halo-") for name in names):
        halo = results.method(headline(names))
        for target, phase in targets_and_phases(results):
            found += _cost(results, halo, target, phase)
        found += _accuracy(results, halo)
    return [*found, *_floating_point(results)]


def delay_risk(note: str) -> str:
    """Return what clocks risk that rest on delays other than the static ones, which `note` names."""
    return (
        f"The clocks rest on delays that are not the longest possible ({note}). An activation or a partial sum that "
        "was not simulated may toggle a longer path; the array then computes a wrong sum."
    )


def _clock(profile: ProfileRow) -> list[str]:
    base, fast = profile.classes[-1], profile.classes[0]
    ratio = fast.frequency_hz / base.frequency_hz
    said = [
        f"On {profile.name} the {len(fast.values)} words of class {fast.name} run {ratio:.2f} times as fast as its "
        f"slowest weight value{_beside_the_paper(profile.name)}. Speeds below are against methods on this same MAC."
    ]
    if profile.delay_note:
        said.append(delay_risk(profile.delay_note))
    if profile.best_mac and profile.best_mac != profile.name:
        absolute = profile.best_mac_period_s * fast.frequency_hz
        said.append(
            f"An architect without HALO would build {profile.best_mac}, which takes any weight value in "
            f"{profile.best_mac_period_s * 1e12:.0f} ps. Against it class {fast.name} is {absolute:.2f} times as fast: "
            "that is what the codebook is worth in absolute terms."
        )
    return said


def _beside_the_paper(name: str) -> str:
    """Return the same ratio of the paper's MAC by its figure 4, for a profile that is not that MAC."""
    if name.startswith(PAPER_MAC):
        return ""
    clocks = {value.weight: value.frequency_hz for value in read_mac()}
    fast = min(clock for weight, clock in clocks.items() if weight % 32 == 0)
    return f" (the paper's MAC: {fast / min(clocks.values()):.2f})"


def _cost(results: Results, halo: MethodRow, target: str, phase: str) -> list[str]:
    mine = cost_of(halo, target, phase)
    rival = cost_of(results.method("w4a8"), target, phase)
    if mine is None or rival is None:
        return []
    speed = rival.total_time_s / mine.total_time_s
    energy = mine.total_energy_j / rival.total_energy_j
    said: list[str] = []
    if speed < SMALL_GAIN:
        bound = max(mine.bound, key=lambda name: mine.bound[name]) if mine.bound else "compute"
        share = mine.bound.get(bound, 1.0)
        said.append(
            f"{phase.capitalize()} on {target}: {speed:.2f} times the speed of plain W4A8; {bound} is the bound for "
            f"{share:.0%} of the time."
        )
    if energy > 1 / SMALL_GAIN:
        said.append(f"{phase.capitalize()} on {target}: {energy:.2f} times the energy of plain W4A8.")
    return said


def _accuracy(results: Results, halo: MethodRow) -> list[str]:
    rivals = [
        m
        for m in results.methods
        if m.family == "rival" and m.bits_per_weight <= halo.bits_per_weight + 0.05 and m.perplexity < halo.perplexity
    ]
    return [
        f"{m.name} is more accurate at no more bits: perplexity {m.perplexity:.3f} at {m.bits_per_weight:.2f} bits "
        f"against {halo.perplexity:.3f} at {halo.bits_per_weight:.2f}."
        for m in rivals
    ]


def _floating_point(results: Results) -> list[str]:
    wide = [m.name for m in results.methods if m.family == "rival" and not m.costs and TOO_WIDE in m.notes]
    names = [m.name for m in results.methods if m.family == "rival" and not m.costs and m.name not in wide]
    said = [f"{', '.join(wide)}: {TOO_WIDE}, so no speed or energy is given."] if wide else []
    return [*said, *_no_integers(names)]


def _no_integers(names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"{', '.join(names)}: no integer MAC can run these weights as they are, so no speed or energy is given."]
