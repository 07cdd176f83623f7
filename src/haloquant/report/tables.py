"""Format the results as tables for the HTML page, for Markdown and for the terminal."""

from collections.abc import Collection
from dataclasses import dataclass

from haloquant.errors import InputError
from haloquant.report.results import CostRow, MethodRow, NewSiliconRows, Results
from haloquant.units import engineering, least

BASELINES = ("fp16", "w8a8", "w4a8")
HALO_METHODS = ("halo-bal", "halo-acc-opt", "halo-perf-opt")  # the first of them in a job is its headline


@dataclass(frozen=True)
class Row:
    """One line of the table of methods."""

    family: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The column names and the rows of a table."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Card:
    """One of the three main numbers (perplexity, speed, energy), beside those of the reference methods."""

    title: str
    value: str
    against: tuple[tuple[str, str], ...]
    note: str
    unit: str = ""  # the reference of a `value` that is a ratio; empty for other values


def headline(names: Collection[str]) -> str:
    """Return the HALO method that the report presents: the balanced one, or the next best that the job made.

    Raises:
        InputError: There is no HALO method.
    """
    for name in HALO_METHODS:
        if name in names:
            return name
    raise InputError(f"the results must hold one of {', '.join(HALO_METHODS)}, not only {', '.join(names) or 'none'}")


def base_method(results: Results) -> MethodRow:
    """Return the method to which speed and energy are compared: W8A8, or W4A8 or FP16 on a MAC that cannot run it.

    Raises:
        InputError: None of them was simulated.
    """
    rows = {row.name: row for row in results.methods if row.costs}
    for name in ("w8a8", "w4a8", "fp16"):
        if name in rows:
            return rows[name]
    raise InputError("the results must hold the cost of w8a8, w4a8 or fp16 on a machine, and hold none")


def cost_of(method: MethodRow, target: str, phase: str) -> CostRow | None:
    """Return the cost of a method on a machine in a phase, or None if it was not simulated."""
    return next((c for c in method.costs if c.target == target and c.phase == phase), None)


def targets_and_phases(results: Results) -> list[tuple[str, str]]:
    """Return every pair (target, phase) that was simulated, in the order of the first method's costs."""
    return [(c.target, c.phase) for c in results.methods[0].costs]


def method_table(results: Results) -> Table:
    """Return one row for each method: stored bits, perplexity, and speed and energy as ratios to `base_method`."""
    pairs = targets_and_phases(results)
    base = base_method(results)
    head = ["method", "bits/weight", "perplexity W", f"W+A{results.activations}", "BOPs/token"]
    sparse = any(method.input_density is not None for method in results.methods)
    head += ["inputs kept"] if sparse else []
    for target, phase in pairs:
        head += [f"speed {target} {phase}", f"energy {target} {phase}"]
    rows = []
    for method in results.methods:
        a8 = "–" if method.perplexity_a8 is None else f"{method.perplexity_a8:.3f}"
        bops = "–" if method.bops is None else engineering(method.bops, "").strip()
        cells = [method.name, f"{method.bits_per_weight:.2f}", _with_error(method), a8, bops]
        if sparse:
            cells.append("–" if method.input_density is None else f"{method.input_density:.0%}")
        for target, phase in pairs:
            cost, reference = cost_of(method, target, phase), cost_of(base, target, phase)
            if cost is None or reference is None:
                cells += ["–", "–"]
            else:
                cells += [
                    f"{reference.total_time_s / cost.total_time_s:.2f}×",
                    f"{cost.total_energy_j / reference.total_energy_j:.2f}",
                ]
        rows.append(Row(method.family, tuple(cells)))
    return Table(tuple(head), tuple(rows))


def new_silicon_table(found: NewSiliconRows) -> Table:
    """Return one row for each phase and system at equal area, with ratios to W8A8 on its best element.

    A system that fits no element has a row with the reason. There are no ratios if W8A8 does not fit.
    """
    head = ("system", "pass", "element", "columns", "clock, GHz", "speed", "energy", "bound")
    base = {row.phase: row for row in found.rows if row.system == "W8A8"}
    rows = [
        Row(
            "halo" if row.system == "HALO" else "rival",
            (
                row.system,
                row.phase,
                row.element,
                str(row.columns),
                "/".join(dict.fromkeys(f"{clock / 1e9:.2f}" for clock in row.frequency_hz)),
                f"{base[row.phase].time_s / row.time_s:.2f}×" if base else "–",
                f"{row.energy_j / base[row.phase].energy_j:.2f}" if base else "–",
                row.bound,
            ),
        )
        for row in found.rows
    ]
    rows += [
        Row(
            "halo" if left.system == "HALO" else "rival",
            (
                left.system,
                "–",
                left.element,
                "0",
                *"–" * 3,
                f"left out: one column in each array takes {least(left.least_area_mm2)} mm²",
            ),
        )
        for left in found.left_out
        if left.whole_system
    ]
    return Table(head, tuple(rows))


def new_silicon_caption(found: NewSiliconRows) -> str:
    """Return the sentence that says what is equal for all rows of the table of new silicon; empty without rows."""
    if not found.rows:
        return ""
    return (
        f"New silicon on {found.target}: {found.area_mm2:.3g} mm² of arrays for every system, each on the element that "
        f"suits it best. HALO's rows are {found.method}; speed and energy are ratios to W8A8 in the same pass."
    )


def _with_error(method: MethodRow) -> str:
    error = "" if method.rise_error is None else f" ±{method.rise_error:.2f}"
    return f"{method.perplexity:.3f}{error}"


def cards(results: Results) -> tuple[Card, ...]:
    """Return perplexity, speed and energy of the headline model, each compared with FP16, W8A8 and W4A8.

    Speed and energy are those of the first pair of target and phase.
    """
    halo, base = results.method(headline([row.name for row in results.methods])), base_method(results).name
    target, phase = targets_and_phases(results)[0]
    mine = cost_of(halo, target, phase)
    others = [results.method(name) for name in BASELINES]
    accuracy = Card(
        "Perplexity",
        f"{_a8(halo):.3f}",
        tuple((m.name, f"{_a8(m):.3f}") for m in others),
        f"{halo.name}, {halo.bits_per_weight:.2f} bits per weight, {results.activations}-bit activations "
        "(fp16: neither quantized)",
    )
    if mine is None:
        return (accuracy,)
    costs = [(m.name, cost_of(m, target, phase)) for m in others]
    speed = tuple((f"against {n}", f"{c.total_time_s / mine.total_time_s:.2f}×") for n, c in costs if c is not None)
    energy = tuple(
        (f"against {n}", f"{mine.total_energy_j / c.total_energy_j:.2f}×") for n, c in costs if c is not None
    )
    where = f"{phase} on {target}, simulated"
    return (
        accuracy,
        Card("Speed", dict(speed)[f"against {base}"], speed, where, f"as fast as {base}"),
        Card("Energy", dict(energy)[f"against {base}"], energy, where, f"of {base}'s"),
    )


def _a8(method: MethodRow) -> float:
    return method.perplexity if method.perplexity_a8 is None else method.perplexity_a8
