"""Measure the quantizer's own rounding on a GPU: each step of one layer, its agreement with the CPU, and a small model.

Figures are those that the issue asks for: the seconds of one compensated layer of 4096 x 11008, and the seconds of a
quantization without calibration per 10^9 weights.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tools import DEVICE, GPU, NINE, SIXTEEN, Bench, synchronize

from haloquant.kernels.rounding import column_steps, scale_search
from haloquant.kernels.rounding.torch_layer import TorchLayer
from haloquant.kernels.rounding.word_tensors import word_tensors
from haloquant.quant.rounding.layer_rounder import NumbaLayer
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.records import Codebook, LayerStatistics, OperatingPoint

BOOKS = tuple(
    Codebook(name, np.array(words, np.int16), OperatingPoint(1.0, 1e9), 0.0)
    for name, words in (("nine words", NINE), ("sixteen words", SIXTEEN))
)
REFINED = (0.5, 0.0)  # share of the tiles that each class refines by default


def rounding(bench: Bench) -> None:
    """All of them; each case on its own."""
    for case in (agreement, layer, loops, scales, data_free):
        bench.attempt(partial(case, bench), what=case.__name__)


def calibration(bench: Bench) -> None:
    """A decoder block of LLaMA-2-7B's shape (`calibration.blocks`): seconds, rate and memory, with both types."""
    from calibration import blocks

    with tempfile.TemporaryDirectory() as folder:
        shape, windows = ("small", 2) if bench.tiny or not GPU else ("1gb", 16)
        where = f"{DEVICE}:0" if GPU else "cpu"
        for dtype in ("float32", "bfloat16"):
            bench.row(what="calibrated blocks", **blocks(Path(folder), where, shape, windows, dtype))


def statistics(out: int, inputs: int) -> LayerStatistics:
    """Fisher information and Hessian of correlated inputs, made on the device."""
    generator = torch.Generator(DEVICE).manual_seed(1)
    x = torch.randn(inputs + 256, inputs, device=DEVICE, generator=generator)
    x = x * torch.rand(inputs, device=DEVICE, generator=generator).mul(2).exp() + x.roll(1, 1)
    hessian = (x.T @ x / (inputs + 256) * 2).cpu().numpy()
    fisher = torch.rand(out, inputs, device=DEVICE, generator=generator).square().cpu().numpy()
    return LayerStatistics("layer", inputs + 256, fisher, hessian, source="made up to be timed")


def weight_of(out: int, inputs: int) -> np.ndarray:
    """Random weights, some of them far out."""
    return (np.random.default_rng(2).standard_t(5, (out, inputs)) * 0.02).astype(np.float32)


def whole(made: Any, shape: tuple[int, int], number: int) -> tuple[np.ndarray, np.ndarray]:
    """Round an opened layer in one class; codes and losses."""
    tiles = uniform_map("layer", make_grid(*shape), number)
    made.compensate(tiles, BOOKS)
    made.refine(REFINED[number])
    return made.quantized().codes, made.tile_losses()


def agreement(bench: Bench) -> None:
    """Codes and losses against numba's, and the same bytes twice."""
    shape = (32, 160) if bench.tiny else (512, 1024)
    weight, known = weight_of(*shape), statistics(*shape)
    for number, book in enumerate(BOOKS):
        found = []
        for make in (NumbaLayer, *[partial(TorchLayer, device=DEVICE)] * 2):
            made = make(weight, known, "layer")
            made.split(0.005)
            found.append(whole(made, shape, number))
        (codes, losses), (own, ours), (again, _) = found
        same, loss = float(np.mean(codes == own)), float(ours.sum() / losses.sum() - 1)
        bench.row(
            what="agreement with the CPU", shape=shape, weights=book.name, same_codes=same, loss_above=loss,
            right=same >= 0.999 and abs(loss) <= 1e-3, same_bits_twice=np.array_equal(own, again),
        )  # fmt: skip


def layer(bench: Bench) -> None:
    """Seconds of each step of one layer, copies included, and its peak memory."""
    for shape in ((32, 160),) if bench.tiny else ((4096, 11008), (4096, 4096)):
        weight, known = weight_of(*shape), statistics(*shape)
        for repeat in range(2):  # the first compiles and warms up
            if GPU:
                torch.cuda.reset_peak_memory_stats()
            spent, made = {}, None
            began = time.perf_counter()

            def timed(name: str, call: Callable[[], object], spent: dict[str, float] = spent) -> Any:
                start = time.perf_counter()
                found = call()
                synchronize()
                spent[f"{name}_s"] = time.perf_counter() - start
                return found

            made = timed("copy", lambda weight=weight, known=known: TorchLayer(weight, known, "layer", DEVICE))
            timed("split", lambda made=made: made.split(0.005))
            for number, book in enumerate(BOOKS):
                tiles = uniform_map("layer", make_grid(*shape), number)
                name = book.name.replace(" ", "_")
                timed(f"{name}_nearest", lambda made=made, tiles=tiles: made.round_nearest(tiles, BOOKS))
                timed(f"{name}_compensated", lambda made=made, tiles=tiles: made.compensate(tiles, BOOKS))
                if REFINED[number]:
                    timed(f"{name}_refined", lambda made=made, share=REFINED[number]: made.refine(share))
                timed(f"{name}_losses", made.tile_losses)
                timed(f"{name}_back", made.quantized)
            total = time.perf_counter() - began
            peak = torch.cuda.max_memory_allocated() if GPU else 0
            bench.row(what="one layer", shape=shape, repeat=repeat, all_s=total, peak_device_bytes=peak, **spent)


def loops(bench: Bench) -> None:
    """One block of 128 columns, rounded and then refined: the Triton kernels, and the same loops in plain torch."""
    rows, width, across = (32, 32, 2) if bench.tiny else (4096, 128, 86)
    generator = torch.Generator(DEVICE).manual_seed(3)
    words = word_tensors(BOOKS, torch.device(DEVICE))
    draw = partial(torch.randn, device=DEVICE, generator=generator)
    places = torch.randint(0, across, (width,), device=DEVICE, generator=generator)
    classes = torch.randint(0, 2, (rows, across), device=DEVICE, generator=generator)
    original = 0.02 * draw(rows, width)
    unit = torch.triu(0.01 * draw(width, width), 1) + torch.eye(width, device=DEVICE)
    scale = 2e-4 * draw(rows, across)
    given = original, original, unit, places, scale, classes, words, None
    row: dict[str, Any] = {"what": "columns of one block", "shape": (rows, width)}
    if column_steps.use_triton(original.device):
        row |= bench.times([partial(column_steps.launch_round_columns, *given)], repeats=9, graph=False).row
        ours = column_steps.launch_round_columns(*given)[0]
        plain = column_steps.plain_round_columns(*given)[0]
        row["same_codes"] = float((ours == plain).float().mean())
        row["right"] = row["same_codes"] >= 0.999
    times = bench.times([partial(column_steps.plain_round_columns, *given)], repeats=2, graph=False)
    bench.row(**row, plain_torch_us=1e6 * times.median)

    hessian = draw(2 * width, width)
    hessian = hessian.T @ hessian / width
    kinds, own = classes[:, 0].contiguous(), scale[:, 0].contiguous()
    codes = torch.randint(0, 9, (rows, width), device=DEVICE, generator=generator).to(torch.uint8)
    values = words.words[kinds[:, None], codes.long()] * own[:, None]
    slope, active = (original - values) @ hessian, torch.ones(rows, dtype=torch.bool, device=DEVICE)

    def moved(move: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Move copies, as a move changes its arguments; the codes after it."""
        state = slope.clone(), values.clone(), codes.clone()
        move(state[0], hessian, own, kinds, words, None, active, state[1], state[2])
        return state[2]

    row = {"what": "codes of one block moved", "shape": (rows, width)}
    if column_steps.use_triton(original.device):
        row |= bench.times([partial(moved, column_steps.launch_move_codes)], repeats=9, graph=False).row
        ours, plain = moved(column_steps.launch_move_codes), moved(column_steps.plain_move_codes)
        row["same_codes"] = float((ours == plain).float().mean())
        row["right"] = row["same_codes"] >= 0.999
    times = bench.times([partial(moved, column_steps.plain_move_codes)], repeats=2, graph=False)
    bench.row(**row, plain_torch_us=1e6 * times.median)


def scales(bench: Bench) -> None:
    """The scales of one layer: the Triton kernel, and the same search in plain torch."""
    rows, inputs = (8, 160) if bench.tiny else (4096, 11008)
    at = torch.device(DEVICE)
    words, weight = word_tensors(BOOKS, at), torch.from_numpy(weight_of(rows, inputs)).to(at)
    emphasis = torch.rand(1, inputs, device=at, generator=torch.Generator(DEVICE).manual_seed(4))
    for number, book in enumerate(BOOKS):
        classes = torch.full((rows, -(-inputs // 128)), number, dtype=torch.int64, device=at)
        given = weight, emphasis, classes, words, 128
        row: dict[str, Any] = {"what": "scales of one layer", "shape": (rows, inputs), "weights": book.name}
        if column_steps.use_triton(at):
            row |= bench.times([partial(scale_search.launch_search, *given)], repeats=9, graph=False).row
            ours, plain = scale_search.launch_search(*given), scale_search.plain_search(*given)
            row["same_codes"] = float((ours[1] == plain[1]).float().mean())
            row["same_scales"] = float((ours[0] == plain[0]).float().mean())
            row["right"] = min(row["same_codes"], row["same_scales"]) >= 0.999
        times = bench.times([partial(scale_search.plain_search, *given)], repeats=2, graph=False)
        bench.row(**row, plain_torch_us=1e6 * times.median)


def data_free(bench: Bench) -> None:
    """Quantize two models of random weights without calibration, by the command; a 7B by the line through both.

    The line counts once what does not grow with the model: imports, the start of CUDA, codebooks. The larger model is
    quantized by four workers too, which read and pack while another has the GPU.
    """
    shape, (few, many) = ("small", (2, 4)) if bench.tiny or not GPU else ("1gb", (2, 6))
    points: dict[tuple[int, int], tuple[float, float]] = {}
    for blocks, workers in ((few, 1), (many, 1), (many, 4)):
        with tempfile.TemporaryDirectory() as folder:
            maker = str(Path(__file__).parents[1] / "make_checkpoint.py")
            model, out = f"{folder}/model", f"{folder}/out"
            make = [sys.executable, maker, model, "--shape", shape, "--blocks", str(blocks)]
            subprocess.run(make, check=True)
            command = [sys.executable, "-m", "haloquant", "quantize", model, "--out", out, "--calibration", "none"]
            command += ["--goal", "acc-opt", "--device", "cuda" if GPU else "cpu", "--json", "--quiet"]
            command += ["--workers", str(workers)]
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            took = time.perf_counter() - began
        made = json.loads(done.stdout)
        stages = {part["stage"]: part["seconds"] for part in made["stages"]}
        points[blocks, workers] = made["weights"] / 1e9, took
        bench.row(what="without calibration", model=f"{shape}, {blocks} blocks", workers=workers,
                  weights=made["weights"], s=took, stages=stages)  # fmt: skip
    (small, first), (large, last) = points[few, 1], points[many, 1]
    per = (last - first) / (large - small)
    bench.row(what="without calibration, by weights", s_per_1e9_weights=per, start_s=first - per * small,
              of_7b_s=first + per * (6.48 - small))  # fmt: skip
