"""Rows of the results for new silicon: every system at equal area, on the element that suits it best."""

from collections.abc import Mapping, Sequence

from haloquant.accel.chart_rows import limiting_resource
from haloquant.accel.target import Target
from haloquant.accel.workload.decoder_shape import ModelShape
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.dvfs.classes import Classes
from haloquant.errors import InputError
from haloquant.jobs.compare.result_rows import fast_fraction
from haloquant.jobs.machines.drawn_tiles import mean_input_bits
from haloquant.jobs.machines.element_systems import known_elements
from haloquant.jobs.machines.new_silicon import compare_on_new_silicon
from haloquant.jobs.machines.systems import QuantizedModel
from haloquant.records import LayerTiles
from haloquant.report.results import ElementRow, LeftOutRow, NewSiliconRows


def new_silicon_results(
    method: str,
    shape: ModelShape,
    tiles: Mapping[str, LayerTiles],
    workloads: Sequence[Workload],
    targets: Sequence[Target],
    classes: Classes,
) -> list[NewSiliconRows]:
    """Compare all systems at equal area on every machine whose clocks an element sets.

    Args:
        method: The method that HALO's rows stand for.
        shape: The shape that the job simulates.
        tiles: The method's tiles.
        workloads: The passes.
        targets: The machines; those with claimed clocks are left out.
        classes: The classes of the given MAC. The elements are those of its cell library. Without an 8-bit one the
            result is empty.
    """
    elements = known_elements(classes.profile)
    if not tiles or not any(element.bits == 8 and element.whole for element in elements):
        return []
    bits = mean_input_bits(tiles.values())
    model = QuantizedModel(method, shape, classes, tiles, fast_fraction(tiles), input_bits=bits)
    found: list[NewSiliconRows] = []
    for target in targets:
        if target.array.claimed_clocks:
            continue
        try:
            new = compare_on_new_silicon(model, workloads, target, elements)
        except InputError as error:  # not one column of any element fits
            found.append(NewSiliconRows(method, target.name, 0.0, "", [], [f"no comparison: {error}"]))
            continue
        rows = [
            ElementRow(
                target.name, run.phase, run.system, run.element, run.columns,
                [point.frequency_hz for point in run.points], run.time_s, run.energy_j,
                limiting_resource(run.simulation),
            )
            for run in sorted(new.runs, key=lambda run: (run.phase != "prefill", run.system == "HALO"))
            if run.best
        ]  # fmt: skip
        left_out = [
            LeftOutRow(left.system, left.element, left.least_area_m2 * 1e6, left.whole_system) for left in new.left_out
        ]
        found.append(NewSiliconRows(method, target.name, new.area_m2 * 1e6, new.plain, rows, list(new.notes), left_out))
    return found
