"""Reports of a `WorstPath`: a table of its gates, or a text from which every number can be recomputed by hand."""

from haloquant.circuits.timing.paths import PathStep, TableReading, WorstPath
from haloquant.units import FEMTO, PICO

HEADERS = ("gate", "cell", "arc", "slew in (ps)", "load (fF)", "delay (ps)", "slew out (ps)", "arrival (ps)")


def path_rows(path: WorstPath) -> list[tuple[str, ...]]:
    """Return the path as table rows: the start, one row per gate, and the setup if the path ends at a register.

    "slew out" is the slew of this arc. The next "slew in" is the largest slew of all arcs to the net, so it may be
    larger.

    Returns:
        Rows with one cell for each of `HEADERS`; times in ps, capacitances in fF.
    """
    rows: list[tuple[str, ...]] = [("", "", f"{path.start} {path.start_edge}s", "", "", "", "", "0.000")]
    rows += [
        (
            step.gate,
            step.cell,
            _arc(step),
            _ps(step.input_slew_s),
            f"{step.load_f / FEMTO:.3f}",
            _ps(step.delay.lookup.value),
            _ps(step.transition.lookup.value),
            _ps(step.arrival_s),
        )
        for step in path.steps
    ]
    if path.setup:
        value = path.setup.lookup.value
        rows.append((path.end, "", "setup", "", "", _ps(value), "", _ps(path.delay_s)))
    return rows


def path_text(path: WorstPath) -> str:
    """Return the path as a text with every table look-up, one paragraph per gate.

    Each look-up shows the grid cell, the fractions u and v in it, and the bilinear sum. So a reader can repeat it with
    the text of the library.
    """
    lines = [
        f"{path.netlist} with weight {path.weight}, library {path.library}: {_ps(path.delay_s)} ps to {path.end}",
        f"{path.start} {path.start_edge}s at 0 ps",
    ]
    for step in path.steps:
        when = f", when {step.when}" if step.when else ""
        lines += [
            "",
            f"{step.gate} ({step.cell}) {_arc(step)}{when}; drives {step.net}: {step.load_f / FEMTO:.4f} fF",
            f"  delay {_sum(step.delay, step.input_slew_s, step.load_f, FEMTO, 'fF')}",
            f"  slew  {_sum(step.transition, step.input_slew_s, step.load_f, FEMTO, 'fF')}",
            f"  arrives at {_ps(step.arrival_s)} ps",
        ]
    if path.setup:
        look = path.setup.lookup
        clock = _between(path.setup.rows, look.row_fraction)
        data = _between(path.setup.columns, look.column_fraction)
        lines += ["", f"setup at {path.end}", f"  time  {_sum(path.setup, clock, data, PICO, 'ps')}"]
    return "\n".join([*lines, "", f"path delay {_ps(path.delay_s)} ps", ""])


def _sum(reading: TableReading, x: float, y: float, column_unit: float, column_name: str) -> str:
    """Return one look-up as `at (x, y) in [x0, x1] x [y0, y1], u v: sum = value`."""
    look = reading.lookup
    u, v = look.row_fraction, look.column_fraction
    x0, x1 = (f"{x / PICO:.4f}" for x in reading.rows)
    y0, y1 = (f"{y / column_unit:.4f}" for y in reading.columns)
    weights = ((1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v)
    terms = " + ".join(f"{weight:.5f}*{_ps(corner)}" for weight, corner in zip(weights, look.corners, strict=True))
    return (
        f"at ({x / PICO:.4f} ps, {y / column_unit:.4f} {column_name}) "
        f"in [{x0}, {x1}] ps x [{y0}, {y1}] {column_name}, u={u:.5f} v={v:.5f}: {terms} = {_ps(look.value)} ps"
    )


def _between(ends: tuple[float, float], fraction: float) -> float:
    return ends[0] + fraction * (ends[1] - ends[0])


def _arc(step: PathStep) -> str:
    arrow = {"rise": "↑", "fall": "↓"}
    return f"{step.from_pin}{arrow[step.from_edge]} → {step.to_pin}{arrow[step.to_edge]}"


def _ps(seconds: float) -> str:
    return f"{seconds / PICO:.3f}"
