"""Predict the memory and time of every stage of a quantization from the model's sizes alone, without reading a weight.

Memory is the sum of what a stage holds at the same time. Time is the work, counted in weights and multiply-adds,
divided by rates that a short probe measures on this machine with one thread (`machine_rates`). So it is the time of one
worker; with several, tasks divide it by their number. Effects that the probe cannot see (`FRESH`, `COLD`, `HEAP`,
`LAYER_B`) were measured in one run of a 7B model. Work per layer is the same in each block, so time and disk space grow
linearly with the number of blocks. Memory depends on the largest layer and does not grow with the blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from haloquant.jobs.quantize.forecast.machine_rates import Rates
from haloquant.jobs.quantize.forecast.model_sizes import LayerSize, ModelSizes
from haloquant.jobs.quantize.transform import AWQ_POINTS
from haloquant.lm.calibration.shard_tasks import SHARD_WINDOWS
from haloquant.lm.export.model_folder import SHARD_BYTES
from haloquant.quant.input_sparsity.scores import SAMPLE_TOKENS
from haloquant.recipe import Transform

# Resident memory in bytes after imports: the interpreter with numpy, scipy and numba; torch and transformers add more.
BASE_B, TORCH_B = 170e6, 450e6
# Stored bits per weight, with scales and sparse weights, as in the packed demo models.
BITS = 4.25
# Bytes per weight while a layer is quantized: weight, dense part, error and scratch in float32, codes and classes.
LAYER_B = 13.0
# Correction: rounding fresh layers costs 1.24x the probe, which reuses warm memory.
FRESH = 1.24
# Correction: processor time of reading a file from disk, relative to a file in the page cache, as in the probe.
COLD = 1.7
# Correction: memory of a shard's tensors, as the process keeps memory that was freed between them.
HEAP = 1.25
# Seconds of the search for codebooks.
BOOKS_S = 0.5
# Processor seconds before the first stage: loading libraries and compiled kernels; torch and transformers add more.
START_S, TORCH_START_S = 2.5, 6.0
# Processor seconds of a call on one layer beside its weights, and of a window in one block beside its multiply-adds.
CALL_S, WINDOW_S = 0.01, 0.01
# Attention forward and backward with a mask, for each head and pair of tokens: multiply-adds for each feature of the
# head, and the softmax in exponentials. Both were fitted to torch's scaled_dot_product_attention on a CPU.
PAIR_MADDS, PAIR_EXPS = 8.0, 2.5
# Number of layers whose weights the search sees.
SAMPLED = 12
# Time of reading one weight of these layers, relative to rounding it.
SAMPLE_SHARE = 1 / 12


@dataclass(frozen=True)
class Stage:
    """One stage: its time in seconds with one worker, and its peak memory in bytes.

    `driver_b` is the memory of the process that does everything with one worker. `worker_b` is the memory of each
    worker process if there are several.
    """

    name: str
    seconds: float
    driver_b: float
    worker_b: float


@dataclass(frozen=True)
class Plan:
    """The prediction for one model: bytes to read and to write, and its stages without and with calibration.

    `torch_loaded` says whether torch and transformers are loaded without calibration too, to check the model.
    `statistics_b` are bytes on disk between the two passes of a calibrated *bal*.
    """

    model: str
    weights: int
    read_b: float
    written_b: float
    free: tuple[Stage, ...]
    calibrated: tuple[Stage, ...]
    torch_loaded: bool = False
    statistics_b: float = 0.0

    def peak_b(self, calibrated: bool) -> float:
        """Return the peak memory in bytes of one process that does everything."""
        return max(stage.driver_b for stage in (self.calibrated if calibrated else self.free))

    def seconds(self, calibrated: bool, workers: int = 1) -> float:
        """Return the time in seconds from the start of the command to its end."""
        stages = self.calibrated if calibrated else self.free
        spent = sum(stage.seconds / (workers if stage.worker_b else 1) for stage in stages)
        return self.start_s(calibrated) + spent

    def start_s(self, calibrated: bool) -> float:
        """Return the seconds before the first stage, in which libraries are loaded."""
        return START_S + TORCH_START_S * (calibrated or self.torch_loaded)


def predict(
    model: ModelSizes,
    rates: Rates,
    windows: int,
    length: int,
    balanced: bool = True,
    transform: Transform = "none",
    torch_loaded: bool = False,
) -> Plan:
    """Return the prediction for every stage of a quantization, without and with calibration.

    Args:
        model: Sizes of the model.
        rates: Speed of this machine.
        windows: Number of calibration windows.
        length: Tokens of each window.
        balanced: Whether the losses of tiles are measured first (goal `bal`). This rounds every layer in both classes,
            and keeps the statistics on disk in between.
        transform: The transform. Finding its scales passes over the inputs once more, without gradients.
        torch_loaded: Whether torch and transformers are loaded without calibration too, to check the model.
    """
    weights = sum(x.weights for x in model.layers)
    largest = max(x.weights for x in model.layers)
    widest = max(x.in_features for x in model.layers)
    written = model.kept_b + weights * BITS / 8
    read = Stage("read and hash", COLD * model.stored_b / rates.hash_b_per_s, BASE_B, 0.0)
    seen = weights / len(model.layers) * min(len(model.layers), SAMPLED)
    books_s = BOOKS_S + seen * SAMPLE_SHARE / rates.free_weights_per_s
    books = Stage("choose codebooks", books_s, BASE_B + 4.0 * largest, 0.0)
    # Every finished layer is written to its own file before it is packed into a shard.
    keep_s = weights * BITS / 8 * (1 / rates.write_b_per_s + 1 / rates.hash_b_per_s)
    # A shard stays in memory while the next tensor is read. The largest tensors are the embedding and the head, each
    # about half of `kept_b`; in the widest models each is larger than a shard.
    shard_b = max(HEAP * min(written, float(SHARD_BYTES)), model.kept_b / 2)
    pack = (
        Stage("pack", weights / rates.packed_weights_per_s + written / rates.write_b_per_s, BASE_B + shard_b, 0.0),
        Stage(
            "copy and check", (model.kept_b + written) / rates.hash_b_per_s, BASE_B + shard_b + model.kept_b / 2, 0.0
        ),
    )
    layer_b = LAYER_B * largest
    once = FRESH * weights / rates.free_weights_per_s + CALL_S * len(model.layers)
    free = [Stage("quantize", once + keep_s, BASE_B + layer_b, BASE_B + layer_b)]
    if balanced:
        free.insert(0, Stage("measure tiles", 2 * once, BASE_B + layer_b, BASE_B + layer_b))
    # The sums of a block, and the values' Hessian.
    sums = max(sums_b(block) for block in blocks_of(model.layers)) + 4.0 * model.hidden**2
    block_b = 4.0 * max(sum(x.weights for x in block) for block in blocks_of(model.layers))
    states = 4.0 * windows * length * model.hidden
    shard = 8.0 * min(SHARD_WINDOWS, windows) * length * model.hidden
    through = windows * length * float(weights)  # multiply-adds of one pass of all tokens through the layers
    sum_madds = sums_madds(model.layers, windows * length) + values_madds(model, windows, length)
    passing = Stage(
        "calibrate",
        2 * through / rates.block_madds_per_s
        + (through + sum_madds) / rates.madds_per_s
        + _attention_s(model, windows, length, rates),
        BASE_B + TORCH_B + states + 2 * sums + block_b + shard,  # the running sums, and a shard's own
        BASE_B + TORCH_B + sums + block_b + shard,
    )
    known_b = layer_b + 4.0 * largest + 12.0 * widest**2  # Fisher; then Hessian, its factor, and scratch
    rounding = sum(_rounding_s(x, rates) + CALL_S for x in model.layers)
    worker_b = BASE_B + known_b
    driver_b = BASE_B + TORCH_B + states + sums + known_b
    calibrated = [passing, Stage("quantize", rounding + keep_s, driver_b, worker_b)]
    statistics_b = 0.0
    if balanced:
        statistics_b = sum(sums_b(block) + 4.0 * model.hidden**2 for block in blocks_of(model.layers))
        calibrated = [
            replace(passing, seconds=passing.seconds + keeping_s(statistics_b, rates)),
            Stage("measure tiles", 2 * rounding, driver_b, worker_b),
            Stage("read statistics", 2 * statistics_b / rates.hash_b_per_s, BASE_B + TORCH_B + sums, 0.0),
            calibrated[1],
        ]
    if transform != "none":
        seconds = through / rates.block_madds_per_s + sum_madds / rates.madds_per_s
        seconds += _attention_s(model, windows, length, rates) / 3  # the forward pass alone
        if transform == "awq":  # the output error of every candidate scale, from the Hessian
            seconds += AWQ_POINTS * sum(x.weights * x.in_features for x in model.layers) / rates.madds_per_s
        calibrated.insert(0, Stage(f"{transform} scales", seconds, passing.driver_b, max(passing.worker_b, worker_b)))
    free = [replace(x, driver_b=x.driver_b + TORCH_B * torch_loaded) for x in (read, books, *free, *pack)]
    whole = (read, books, *calibrated, *pack)
    return Plan(model.name, weights, model.stored_b, written, tuple(free), whole, torch_loaded, statistics_b)


def sparse_inputs_stage(model: ModelSizes, rates: Rates, written_b: float, passes: int) -> Stage:
    """Return the stage that finds thresholds of sparse inputs: passes of the packed model over a sample of tokens.

    Args:
        model: Sizes of the model.
        rates: Speed of this machine.
        written_b: Bytes of the packed model, which is in memory as a whole.
        passes: Number of passes.
    """
    weights = sum(x.weights for x in model.layers)
    # A pass decodes every weight once. Inputs of the layers of one block are kept, in float32.
    seconds = passes * weights * (SAMPLE_TOKENS / rates.madds_per_s + 1 / rates.packed_weights_per_s)
    kept_b = 4.0 * SAMPLE_TOKENS * max(sum(x.in_features for x in block) for block in blocks_of(model.layers))
    decoded_b = 4.0 * max(x.weights for x in model.layers)
    return Stage("sparse inputs", seconds, BASE_B + TORCH_B + written_b + kept_b + decoded_b, 0.0)


def keeping_s(statistics_b: float, rates: Rates) -> float:
    """Return the seconds of writing statistics and of their checksums; reading takes two passes, one for these."""
    return statistics_b * (1 / rates.write_b_per_s + 1 / rates.hash_b_per_s)


def blocks_of(layers: Sequence[LayerSize]) -> list[list[LayerSize]]:
    """Return the layers of each decoder block."""
    blocks: dict[int, list[LayerSize]] = {}
    for layer in layers:
        blocks.setdefault(layer.block, []).append(layer)
    return list(blocks.values())


def _inputs(layers: Sequence[LayerSize]) -> dict[int, int]:
    """Return the width of the input of every group of layers; its Hessian is summed once for the group."""
    return {layer.group: layer.in_features for layer in layers}


def sums_b(block: Sequence[LayerSize]) -> float:
    """Return the bytes of a block's sums in float32: the Fisher of every weight, and x x^T of every input."""
    return 4.0 * (sum(x.weights for x in block) + sum(width**2 for width in _inputs(block).values()))


def calibration_madds(layers: Sequence[LayerSize], tokens: int) -> float:
    """Return the multiply-adds of calibration.

    For each weight and token there is one in the forward pass, one for the gradient of the input and one for the
    gradient of the weight. The sums x x^T are added to these, and the values' Hessian is not.
    """
    return sums_madds(layers, tokens) + float(tokens) * 3 * sum(x.weights for x in layers)


def _attention_s(model: ModelSizes, windows: int, length: int, rates: Rates) -> float:
    """Return the seconds of attention in all blocks, forward and backward, and of calling torch window by window.

    The heads together are taken to be as wide as the hidden states.
    """
    blocks = len(blocks_of(model.layers))
    pair_s = PAIR_MADDS * model.hidden / rates.madds_per_s + PAIR_EXPS * model.heads / rates.exps_per_s
    return float(windows) * blocks * (length**2 * pair_s + WINDOW_S)


def values_madds(model: ModelSizes, windows: int, length: int) -> float:
    """Return the multiply-adds of the values' Hessian, weighted by attention (`lm.calibration.value_hessian`).

    Causal probabilities A of each head are multiplied with the inputs X, whose squares are summed, or with themselves;
    X^T (A^T A) X then follows once for all heads. The way with fewer multiply-adds is taken.
    """
    wide, long = float(model.hidden), float(length)
    by_inputs = model.heads * (long**2 * wide / 2 + long * wide**2)
    by_tokens = model.heads * long**3 / 3 + long**2 * wide + long * wide**2
    return windows * len(blocks_of(model.layers)) * min(by_inputs, by_tokens)


def sums_madds(layers: Sequence[LayerSize], tokens: int) -> float:
    """Return the multiply-adds of the sums x x^T, one for each input of layers and token."""
    return float(tokens) * sum(w**2 for w in _inputs(layers).values())


def _rounding_s(layer: LayerSize, rates: Rates) -> float:
    """Return the seconds that rounding one calibrated layer takes."""
    width = layer.in_features
    return layer.weights * (rates.calibrated_s + rates.calibrated_by_width_s * width) + rates.factor_s * width**3
