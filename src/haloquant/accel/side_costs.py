"""Energy of what stands beside the elements: the decoder and the scaling unit of each column, and the operands' lines.

The decoder converts stored codes to the pins' code. The scaling unit scales each tile's sums. Neither slows the array.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from haloquant.accel.elements import FLOAT_ENERGY, Element, activation_pins
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.records import LayerTiles, Schedule


def side_energy_j(
    workload: Workload,
    tiles: Mapping[str, LayerTiles],
    schedule: Schedule,
    element: Element,
    plain: Element,
    passes: Mapping[str, int],
) -> dict[str, float]:
    """Return the energy in J of a pass for decoding and for scaling.

    Every weight that is loaded is decoded, once for each block of rows; a decoder of a code costs one operation of the
    plain 8-bit element (assumed: a table of 16 words of a dozen bits has about as many gates). A layer with scales per
    tile scales every sum of every tile, any other layer each output once; a 16-bit floating-point multiply and add
    costs five operations of the plain element (Horowitz, ISSCC 2014). A second pass over 8-bit weights is loaded and
    scaled again.
    """
    decoded = scaled = 0.0
    for gemm in workload.gemms:
        part = tiles.get(gemm.layer)
        if part is None:
            continue
        times = passes.get(gemm.layer, 1)
        loads = schedule.row_blocks.get(gemm.group, 1)
        decoded += times * loads * gemm.k * gemm.n * gemm.count
        across = part.grid.across if part.bits.scales else 1
        scaled += times * gemm.m * gemm.n * gemm.count * across
    return {
        "decode": decoded * plain.mean_j if element.coded else 0.0,
        "rescale": scaled * FLOAT_ENERGY * plain.mean_j,
    }


@dataclass(frozen=True)
class Lines:
    """What it takes to bring operands to an element, for one product.

    Attributes:
        activation_j: energy of a cycle at the activation's lines, pins and registers, in J.
        row_j: energy of a cycle of a row of an array for what is made once there, in J.
        load_j: energy of loading a weight into its two registers, in J.
    """

    activation_j: float
    row_j: float
    load_j: float


def lines_of(element: Element, bus: int, register_j: float, wire_f_per_m: float) -> Lines:
    """Return the energies of the lines of an element.

    Every line of an activation moves in half the cycles. It crosses the width of one product, taken as a square, and
    ends at the pins that the profile describes. `bus` columns share its register.

    Args:
        element: The element.
        bus: Columns that share one register of an activation.
        register_j: Energy of one register bit in a cycle with random data, in J, for a profile that does not say.
        wire_f_per_m: Capacitance of a wire, in F/m.
    """
    said, pins = element.profile.provenance, activation_pins(element.profile)
    register_j = float(said.get("activation_register_j", str(register_j)))
    volts = element.profile.corners[0].voltage_v
    wire_j = pins * math.sqrt(element.area_m2) * wire_f_per_m * volts**2 / 4
    inputs_j = float(said.get("activation_input_j", "0"))
    weights = int(said.get("weight_pins", "0"))
    activation_j = wire_j + inputs_j + pins * register_j / bus
    return Lines(activation_j, float(said.get("multiples_j", "0")), 2 * weights * register_j)


def line_energy_j(
    workload: Workload, schedule: Schedule, lines: Lines, columns: int, passes: Mapping[str, int]
) -> dict[str, float]:
    """Return the energy in J of a pass for bringing activations and weights to the elements."""
    activations = loads = 0.0
    for gemm in workload.gemms:
        times = passes.get(gemm.layer, 1) * gemm.count
        cycles = times * gemm.m * gemm.k
        activations += cycles * (gemm.n * lines.activation_j + math.ceil(gemm.n / columns) * lines.row_j)
        loads += times * schedule.row_blocks.get(gemm.group, 1) * gemm.k * gemm.n * lines.load_j
    return {"activations": activations, "weight loads": loads}
