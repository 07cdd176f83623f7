"""Rows of the results for graphics processors, modelled as rooflines: time and energy of the methods there."""

from collections.abc import Mapping, Sequence

from haloquant.accel.gpu_roofline import Arithmetic, GpuFormat, what_if
from haloquant.accel.target import GpuTarget
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.jobs.compare.method_files import MethodResult
from haloquant.report.results import GpuRow
from haloquant.report.tables import headline

# Arithmetic of each method on a graphics processor, which multiplies the words of HALO and W4A8 as 8-bit integers.
_ARITHMETIC: Mapping[str, Arithmetic] = {"fp16": "float16", "w8a8": "int8", "w4a8": "int8"}


def gpu_rows(
    targets: Sequence[GpuTarget], methods: Mapping[str, MethodResult], workloads: Sequence[Workload]
) -> list[GpuRow]:
    """Return every method at its stored bits on every graphics processor, at its own clock and at what-if clocks.

    Layers that a method leaves in floating point, such as the head, are read and multiplied in floating point.
    """
    rows: list[GpuRow] = []
    shown = headline(methods)
    quantized = methods[shown].tiles  # every method quantizes the same layers
    for target in targets:
        for workload in workloads:
            for name in (*_ARITHMETIC, shown):
                arithmetic = _ARITHMETIC.get(name, "int8")
                bits = methods[name].bits.per_weight
                narrow = 16 if name == "fp16" else 8
                floating = [gemm.layer for gemm in workload.gemms if name == "fp16" or gemm.layer not in quantized]
                for at in what_if(workload, target, GpuFormat(name, bits, narrow, narrow, arithmetic), floating):
                    cost = at.cost
                    rows.append(
                        GpuRow(
                            target.name,
                            name,
                            workload.phase,
                            bits,
                            cost.point.voltage_v,
                            cost.point.frequency_hz,
                            cost.time_s,
                            cost.energy_per_token_j,
                            cost.bound,
                            cost.point.frequency_hz > target.points[0].frequency_hz,
                            [block.name for block in at.must_follow],
                            at.switching_s,
                        )
                    )
    return rows
