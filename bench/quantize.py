"""Measure the quantizer's weights per second on one layer, and the floor. Prints JSON.

    python bench/quantize.py [--out 4096] [--in 11008] [--threads 2] [--no-compensation]

On a shared machine read the CPU seconds per million weights; weights per wall-clock second are also given. The floor is
reading the layer once in 16 bits and writing it once in 4 bits. Rivals that are not installed are listed as such.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=int, default=4096)
    parser.add_argument("--in", dest="inputs", type=int, default=11008)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-compensation", action="store_true")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(asked.threads)  # before NumPy and Numba are loaded
    import numpy as np

    from haloquant.quant.codebook import gaussian_sample, select_codebook
    from haloquant.quant.layer import dequantize, quantize_weight, quantize_weight_compensated
    from haloquant.quant.rivals import gptq, rtn
    from haloquant.quant.rounding.refinement import DEFAULT_SHARE, refine
    from haloquant.quant.tiles import make_grid, uniform_map
    from haloquant.records import LayerStatistics, OperatingPoint, QuantizedWeight

    count = asked.out * asked.inputs
    rng = np.random.default_rng(0)
    weight = heavy(rng, asked.out, asked.inputs)
    point = OperatingPoint(1.0, 1e9)
    admissible = np.arange(-128, 128, 4, dtype=np.int16)
    sample, slack = gaussian_sample(), np.zeros(admissible.size)
    books = {
        size: select_codebook(admissible, sample, name="b", point=point, slack_s=slack, size=size) for size in (16, 9)
    }
    tiles = uniform_map("layer", make_grid(asked.out, asked.inputs))

    def timed(call: Callable[[], object], repeat: int) -> dict[str, float]:
        best = (float("inf"), float("inf"))
        for _ in range(repeat):
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            best = min(best, (time.process_time() - cpu, time.perf_counter() - wall))
        return {
            "cpu_s_per_million": round(best[0] / count * 1e6, 5),
            "weights_per_wall_s": round(count / best[1]),
            "cpu_s": round(best[0], 3),
            "wall_s": round(best[1], 3),
        }

    nothing = LayerStatistics("layer", 0)
    small = LayerStatistics("layer", 1, hessian=np.eye(128, dtype=np.float32))
    few, corner = np.ascontiguousarray(weight[:2, :128]), uniform_map("layer", make_grid(2, 128))
    gptq.quantize(few, small, gptq.GptqConfig(), layer="layer")  # compiles what is compiled
    made = [quantize_weight_compensated(few, tiles=corner, codebooks=(books[16],), statistics=small)]
    refine(few, made.pop(), np.eye(128, dtype=np.float32))
    figures: dict[str, object] = {}
    half = weight.astype(np.float16)
    target = np.empty(count // 2, np.uint8)

    def touch() -> None:
        half.view(np.uint8).max()
        target.fill(1)

    figures["floor: read float16, write 4-bit"] = timed(touch, asked.repeat)
    for size, codebook in books.items():
        figures[f"halo {size} words, scale search, nearest"] = timed(
            lambda book=codebook: quantize_weight(weight, tiles=tiles, codebooks=(book,)), asked.repeat
        )
    figures["own rtn int4 g128"] = timed(
        lambda: rtn.quantize(weight, nothing, rtn.RtnConfig(), layer="layer"), asked.repeat
    )
    if not asked.no_compensation:
        inputs = rng.standard_normal((1024, asked.inputs), np.float32)
        hessian = inputs.T @ inputs * np.float32(2 / 1024)
        hessian[np.diag_indices(asked.inputs)] += np.float32(0.5)
        statistics = LayerStatistics("layer", 1024, hessian=hessian, source="random inputs")
        figures["own gptq int4 g128"] = timed(
            lambda: gptq.quantize(weight, statistics, gptq.GptqConfig(), layer="layer"), 1
        )
        figures["halo 16 words, compensated"] = timed(
            lambda: made.append(
                quantize_weight_compensated(weight, tiles=tiles, codebooks=(books[16],), statistics=statistics)
            ),
            1,
        )
        losses = {"compensated": loss(weight, dequantize(made[0]), hessian)}
        seconds = {"compensated": figures["halo 16 words, compensated"]["cpu_s"]}  # type: ignore[index]
        for share, name in ((DEFAULT_SHARE, "default"), (1.0, "refined everywhere")):
            label = f"halo refinement, one sweep over {share:.0%} of the tiles"
            better: list[QuantizedWeight] = []
            figures[label] = timed(
                lambda part=share, keep=better: keep.append(refine(weight, made[0], hessian, sweeps=1, share=part)), 1
            )
            losses[name] = loss(weight, dequantize(better[0]), hessian)
            seconds[name] = seconds["compensated"] + figures[label]["cpu_s"]  # type: ignore[index]
        own = figures["own gptq int4 g128"]["cpu_s"]  # type: ignore[index]
        figures["over own gptq (target at most 1.3)"] = {name: round(s / own, 3) for name, s in seconds.items()}
        figures["layer loss over compensated"] = {
            name: round(value / losses["compensated"], 4) for name, value in losses.items()
        }
    print(
        json.dumps(
            {
                "layer": [asked.out, asked.inputs],
                "threads": asked.threads,
                "target": "20 million weights/s with nearest rounding and scale search",
                "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "figures": figures,
            },
            indent=1,
        )
    )


def loss(weight, values, hessian) -> float:
    """Loss of the first 256 output channels under the Hessian."""
    error = (weight - values)[:256]
    return float(((error @ hessian) * error).sum())


def heavy(rng, rows: int, cols: int):
    """Weights with tails, as trained layers have them."""
    import numpy as np

    weight = rng.standard_normal((rows, cols), np.float32) * np.float32(0.02)
    weight *= 1 + np.float32(0.3) * np.abs(rng.standard_normal((rows, 1), np.float32))
    return weight


if __name__ == "__main__":
    main()
