"""Effective bit operations beside look-up tables and DSP blocks of constant multipliers on an FPGA."""

from pathlib import Path

from haloquant.accel.rival_systems import uniform_values
from haloquant.accel.workload.synthetic_tiles import gaussian_frequency
from haloquant.api.arguments import check_bits, check_count, check_range
from haloquant.api.machines.inputs import open_on
from haloquant.api.progress import Progress, reporting
from haloquant.jobs.mac.constant_multipliers import ConstantMultiplierRow, WordFrequency, map_constant_multipliers
from haloquant.jobs.machines.drawn_tiles import class_mix
from haloquant.jobs.machines.systems import QuantizedModel


def map_to_fpga(
    model: str | Path,
    *,
    profile: str | Path = "default",
    outputs: int = 4,
    inputs: int = 16,
    activation_bits: int = 8,
    seed: int = 0,
    progress: Progress = True,
) -> tuple[ConstantMultiplierRow, ...]:
    """Map a block of constant multipliers with a model's words onto an FPGA, beside 8-bit and 4-bit integers.

    HGQ (arXiv 2405.00645) takes EBOPs for LUT + 55 DSP. The rows check this with Yosys.

    Args:
        model: A packed model, whose values have their own frequencies; or a shape as in `simulate`, with Gaussian ones.
        profile: As in `simulate`.
        outputs: Outputs of the block.
        inputs: Inputs of the block.
        activation_bits: Bits of an input.
        seed: Seed of the drawn weights.
        progress: As in `simulate`.

    Returns:
        One row for each class of words, and for 8-bit and 4-bit integers.

    Raises:
        InputError: As in `simulate`, or a number is out of range.
        ToolError: Yosys is missing or fails.

    Example:
        ```python
        from haloquant.api import map_to_fpga

        for row in map_to_fpga("llama2-7b", outputs=2, inputs=4):
            print(row.words, row.ebops, row.luts, row.dsps)
        ```
    """
    check_count("outputs", outputs, 1)
    check_count("inputs", inputs, 1)
    check_range("outputs x inputs", outputs * inputs, 1.0, 4096.0)
    check_bits(activation_bits)
    check_count("seed", seed, 0)
    _, loaded = open_on(model, "tpuv4i_like", profile, 0.5)
    with reporting(progress) as report:
        rows = map_constant_multipliers(_word_sets(loaded), outputs, inputs, activation_bits, seed, report)
    return tuple(rows)


def _word_sets(model: QuantizedModel) -> list[WordFrequency]:
    """Return 8-bit and 4-bit integers of Gaussian weights, and the words of each class but base."""
    sets = [WordFrequency(f"{bits}-bit integers", uniform_values(bits), gaussian_frequency(uniform_values(bits)))
            for bits in (8, 4)]  # fmt: skip
    books = model.classes.codebooks[:-1]
    mixes = class_mix(list(model.tiles.values())) if model.tiles else []
    for index, book in enumerate(books):
        name = f"{book.name} class, {len(book.values)} words"
        if index < len(mixes) and mixes[index].share > 0:
            sets.append(WordFrequency(name, mixes[index].values, mixes[index].frequency))
        else:
            sets.append(WordFrequency(name, book.values, gaussian_frequency(book.values)))
    return sets
