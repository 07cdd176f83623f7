"""The report's table and sentences about graphics processors: a roofline model by stored bits, not a measurement."""

from haloquant.report.results import GpuRow, Results
from haloquant.report.tables import Row, Table

HEAD = (
    "board, method", "bits/weight", "clock, GHz", "prefill, µs", "µJ/token", "decode, µs", "µJ/token", "bound",
)  # fmt: skip


def gpu_table(results: Results) -> Table:
    """Return one row for each board, method and clock. Clocks that the board does not have are marked "what-if"."""
    lines: dict[tuple[str, str, float], dict[str, GpuRow]] = {}
    for row in results.gpus:
        lines.setdefault((row.target, row.method, row.frequency_hz), {})[row.phase] = row
    rows: list[Row] = []
    for (target, method, frequency), phases in lines.items():
        first = next(iter(phases.values()))
        cells = [f"{target} {method}", f"{first.weight_bits:.2f}"]
        cells.append(f"{frequency / 1e9:.2f}{' what-if' if first.what_if else ''}")
        for phase in ("prefill", "decode"):
            at = phases.get(phase)
            cells += ["–", "–"] if at is None else [f"{at.time_s * 1e6:.1f}", f"{at.energy_per_token_j * 1e6:.1f}"]
        cells.append(" / ".join(at.bound for at in phases.values()))
        rows.append(Row("halo" if method.startswith("halo-") else "rival", tuple(cells)))
    return Table(HEAD, tuple(rows))


def gpu_sentences(results: Results) -> list[str]:
    """Return sentences with the numbers behind the table.

    They give the gain of fewer stored bits, the gain of the paper's clocks, and the requirements of such clocks.
    """
    said = [
        "Model, not measured: a roofline of products and memory traffic at stored bits. Launches, unpacking and "
        "everything that is not a matrix product are left out, so a real pass of a small model is slower."
    ]
    for target in dict.fromkeys(row.target for row in results.gpus):
        rows = [row for row in results.gpus if row.target == target]
        said += _bits(target, rows) + _clock(target, rows)
    return said


def _find(rows: list[GpuRow], method: str, phase: str, what_if: bool = False) -> GpuRow | None:
    found = [row for row in rows if row.method.startswith(method) and row.phase == phase and row.what_if == what_if]
    return found[-1] if found else None  # the highest clock


def _bits(target: str, rows: list[GpuRow]) -> list[str]:
    halo, plain = _find(rows, "halo-", "decode"), _find(rows, "w4a8", "decode")
    if halo is None or plain is None:
        return []
    return [
        f"{target}, decode at the board's own clock: {halo.method} takes {halo.time_s / plain.time_s:.2f} of W4A8's "
        f"time, which is what {halo.weight_bits:.2f} instead of {plain.weight_bits:.2f} stored bits give."
    ]


def _clock(target: str, rows: list[GpuRow]) -> list[str]:
    said: list[str] = []
    for phase in ("prefill", "decode"):
        own, high = _find(rows, "halo-", phase), _find(rows, "halo-", phase, what_if=True)
        if own is None or high is None:
            continue
        said.append(
            f"{target}, {phase} at the paper's {high.frequency_hz / 1e9:.1f} GHz if the whole board followed: "
            f"{own.time_s / high.time_s:.2f} times as fast at {high.energy_per_token_j / own.energy_per_token_j:.2f} "
            f"times the energy; switching clocks within the pass would take {high.switching_s * 1e3:.0f} ms."
        )
    blocks = next((row.must_follow for row in rows if row.must_follow), [])
    if blocks:
        said.append(f"Such a clock also needs these to be faster, whose paths no weight shortens: {', '.join(blocks)}.")
    return said
