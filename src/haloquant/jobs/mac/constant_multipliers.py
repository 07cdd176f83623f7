"""Effective bit operations (EBOPs) beside what constant multipliers take on an FPGA, by sets of words.

HGQ (arXiv 2405.00645) reports that EBOPs of a network is about LUT + 55 DSP after place and route by Vivado. Here a
block of a layer is mapped by Yosys, with DSP blocks and without.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int16

from haloquant.accel.bit_operations import enclosed_bits
from haloquant.circuits.rtl.constant_products import TOP, constant_products
from haloquant.eda.fpga import map_to_fpga
from haloquant.jobs.inputs import Progress, silent

DSP_LUTS = 55  # look-up tables that one DSP block stands for, by HGQ


@dataclass(frozen=True)
class WordFrequency:
    """A set of weight values, and how often each occurs."""

    name: str
    values: Int16[np.ndarray, " v"]
    frequency: Float64[np.ndarray, " v"]


@dataclass(frozen=True, slots=True)
class ConstantMultiplierRow:
    """A block of constant multipliers.

    Attributes:
        words: name of the set of weight values.
        weights: number of weights.
        nonzero: weights that are not 0.
        ebops: their effective bit operations.
        luts: look-up tables without DSP blocks.
        ratio: `luts` over `ebops`.
        luts_beside_dsps: look-up tables where multipliers may become DSP blocks.
        dsps: DSP blocks then.
        ratio_with_dsps: (LUT + 55 DSP) over `ebops`.
    """

    words: str
    weights: int
    nonzero: int
    ebops: int
    luts: int
    ratio: float
    luts_beside_dsps: int
    dsps: int
    ratio_with_dsps: float


def map_constant_multipliers(
    sets: Sequence[WordFrequency],
    outputs: int,
    inputs: int,
    activation_bits: int,
    seed: int = 0,
    progress: Progress = silent,
) -> list[ConstantMultiplierRow]:
    """Return one row for each set of words: a block of outputs x inputs drawn weights, mapped twice.

    Raises:
        ToolError: Yosys is missing or fails.
        InputError: The activation bits are not 2 to 16.
    """
    drawn = [_block(words, outputs, inputs, seed) for words in sets]
    mappings = map_to_fpga([constant_products(values, activation_bits) for values in drawn], TOP)
    rows: list[ConstantMultiplierRow] = []
    for words, values, mapped in zip(sets, drawn, mappings, strict=True):
        count = int(enclosed_bits(values.ravel()).sum()) * activation_bits
        plain, mixed = mapped.without_dsps, mapped.with_dsps
        rows.append(
            ConstantMultiplierRow(
                words.name, values.size, int(np.count_nonzero(values)), count, plain.luts, plain.luts / max(1, count),
                mixed.luts, mixed.dsps, (mixed.luts + DSP_LUTS * mixed.dsps) / max(1, count),
            )
        )  # fmt: skip
    progress("map constant multipliers", len(sets), len(sets))
    return rows


def _block(words: WordFrequency, outputs: int, inputs: int, seed: int) -> Int16[np.ndarray, "outputs inputs"]:
    rng = np.random.default_rng(seed)
    return rng.choice(words.values, size=(outputs, inputs), p=words.frequency / words.frequency.sum())
