"""MAC profiles of other processing elements, from a count of full adders instead of a cell library.

All full adders have the same delay and energy, so a ratio between two elements shows the effect of their structure, not
of a technology. A profile that `circuits` characterizes can replace any of them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int16, Int64

from haloquant.errors import InputError
from haloquant.records import Corner, MacProfile


@dataclass(frozen=True, slots=True)
class AdderFigures:
    """Delay and energy of one full adder and energy of one register bit. Default energies: Aladdin's tables, 40 nm."""

    adder_s: float = 40e-12
    adder_j: float = 0.21e-12 / 32
    register_j: float = 9e-15
    voltage_v: float = 1.0
    source: str = "Aladdin tables, 40 nm: 32-bit adder 0.21 pJ, register bit 9 fJ; 40 ps per full adder assumed"


def array_element(weight_bits: int, activation_bits: int, figures: AdderFigures | None = None) -> MacProfile:
    """Return the profile of a multiplier of AND rows and ripple-carry adders, one row per non-zero weight bit.

    `rows` counts the rows whose weight bit is 1. The delay is (rows - 1) adders plus the carry along one row, and the
    energy is proportional to `rows`. `array_element(4, 8)` is the shift-and-add unit of MixPE (arXiv 2411.16158): q x =
    sum of +-(b_i ? x << i : 0), four gated shifts. `array_element(4, 4)` is the W4A4 setting of QuartDepth's ASIC
    (arXiv 2503.16709).

    Raises:
        InputError: The bits are not 2 to 8.
    """
    for name, bits in (("weight_bits", weight_bits), ("activation_bits", activation_bits)):
        if not 2 <= bits <= 8:
            raise InputError(f"{name} of a processing element must be 2 to 8, not {bits}")
    unit = figures or AdderFigures()
    weights = np.arange(-(1 << (weight_bits - 1)), 1 << (weight_bits - 1), dtype=np.int16)
    rows = popcount(weights, weight_bits)
    adders = np.maximum(rows - 1, 0)
    product_bits = weight_bits + activation_bits
    steps = (
        np.where(adders > 0, adders + activation_bits, 0) + 2
    )  # a register and an AND gate, counted as one adder each
    toggled = adders * activation_bits * unit.adder_j + np.minimum(rows, 1) * product_bits * unit.adder_j
    energy = toggled + product_bits * unit.register_j
    return _profile(
        f"array_w{weight_bits}a{activation_bits}", weights, steps * unit.adder_s, energy, activation_bits, unit
    )


def serial_element(digits_out: int = 8, figures: AdderFigures | None = None) -> MacProfile:
    """Return the profile of an MSB-first online multiplier: one activation digit per cycle, the weight in parallel.

    Every weight value takes one short cycle per digit. The value decides how many non-zero signed digits switch, which
    is the energy. Simulate it with `cycles_per_mac = digits_out`. Source: USEFUSE, arXiv 2412.13724.

    Raises:
        InputError: `digits_out` is below 1.
    """
    if digits_out < 1:
        raise InputError(f"digits_out of a bit-serial element must be at least 1, not {digits_out}")
    unit = figures or AdderFigures()
    weights = np.arange(-128, 128, dtype=np.int16)
    digits = signed_digits(weights)
    energy = digits_out * (digits * unit.adder_j + 10 * unit.register_j)
    delay = np.full(len(weights), 4.0 * unit.adder_s)
    return _profile("serial_w8a8", weights, delay, energy, 8, unit)


def popcount(values: Int16[np.ndarray, " v"], bits: int) -> Int64[np.ndarray, " v"]:
    """Return the ones in each value's two's complement of `bits` bits."""
    pattern = values.astype(np.int64) & ((1 << bits) - 1)
    return ((pattern[:, None] >> np.arange(bits)) & 1) @ np.ones(bits, np.int64)


def signed_digits(values: Int16[np.ndarray, " v"]) -> Int64[np.ndarray, " v"]:
    """Return the non-zero digits of each value's canonical signed-digit form: the ones of (v xor 3 v) / 2."""
    v = values.astype(np.int64)
    pattern = np.abs(v) ^ (3 * np.abs(v))
    return ((pattern[:, None] >> np.arange(1, 18)) & 1) @ np.ones(17, np.int64)


def _profile(
    name: str, weights: np.ndarray, delay: np.ndarray, energy: np.ndarray, activation_bits: int, unit: AdderFigures
) -> MacProfile:
    return MacProfile(
        name=name,
        description="counted in full adders, not characterized",
        weights=weights,
        corners=(Corner("counted", unit.voltage_v, 25.0),),
        delay_s=delay.astype(np.float64)[None, :],
        sensitised_delay_s=np.full((1, len(weights)), np.nan),
        energy_j=energy.astype(np.float64)[None, :],
        leakage_w=np.zeros(1),
        area_m2=0.0,
        activation_bits=activation_bits,
        provenance={"method": "full-adder count", "figures": unit.source},
    )
