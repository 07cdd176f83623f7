"""Quantize one layer with every quantizer: time, weights/s and peak memory, beside torchao, HQQ and llm-compressor.

Each quantizer runs in its own process, so its peak memory is its own. Times are CPU seconds on one thread after a small
warm-up that compiles the kernels, so other programs on the machine matter little. Each peer runs with the interpreter
of an environment where it is installed:

    python bench/peers.py --out 4096 --in 11008 --torchao PYTHON --hqq PYTHON --llmcompressor PYTHON [--only NAME ...]

Prints JSON. `floor_s` is a lower bound for any program: for rounding to nearest the measured time to read the weights
and write one byte for each; for compensation this time plus in^3/3 + out in^2/2 multiply-adds at the measured rate of a
float32 matrix product. `ratio` is our time divided by that of the peer that does the same.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

clock = time.process_time
OURS = (
    "rtn-w8",
    "rtn-w4-g128",
    "gptq-w4-g128",
    "gptq-w3-g128",
    "squeezellm-w4",
    "squeezellm-w3",
    "spqr-w3",
    "slim-w3-g128",
)
HALO = ("halo-16-nearest", "halo-9-nearest", "halo-16-compensated", "halo-9-compensated")
PEERS = {
    "torchao-rtn-w4-g128": "torchao",
    "hqq-w4-g128": "hqq",
    "llmcompressor-gptq-w4-g128": "llmcompressor",
}
SAME = {
    "torchao-rtn-w4-g128": ("rtn-w4-g128", "halo-16-nearest"),
    "hqq-w4-g128": ("rtn-w4-g128", "halo-16-nearest"),
    "llmcompressor-gptq-w4-g128": ("gptq-w4-g128", "halo-16-compensated"),
}


def layer(out: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one weight and Hessian for all quantizers: heavy-tailed weights, inputs with a few large channels."""
    rng = np.random.default_rng(0)
    weight = (
        rng.standard_t(
            5,
            size=(out, features),
        )
        * 0.02
    ).astype(np.float32)
    loud = rng.lognormal(0, 0.7, features).astype(np.float32)
    x = rng.standard_normal((1024, features), np.float32) * loud
    hessian = x.T @ x * np.float32(1 / 1024)
    hessian[np.diag_indices(features)] += loud**2
    return weight, hessian


def ours(name: str, weight: np.ndarray, hessian: np.ndarray):
    from haloquant.quant.rivals.registry import rival
    from haloquant.records import LayerStatistics

    fisher = np.ones_like(weight) if "fisher" in rival(name).needs else None
    return rival(name).quantize(weight, LayerStatistics("l", 1, fisher, hessian, source="bench"), layer="l").weight


def halo(name: str, weight: np.ndarray, hessian: np.ndarray):
    from haloquant.quant.layer import dequantize, quantize_weight, quantize_weight_compensated
    from haloquant.quant.tiles import make_grid, uniform_map
    from haloquant.records import Codebook, LayerStatistics, OperatingPoint

    # Codebooks of the two sizes; which words they are does not change the time.
    words = [-128, -96, -64, -48, -32, -24, -16, -8, 0, 8, 16, 24, 32, 48, 64, 96]
    if "-9-" in name:
        words = [-128, -64, -32, -16, 0, 16, 32, 64, 96]
    book = Codebook("bench", np.array(words, np.int16), OperatingPoint(1.0, 1e9), 0.0)
    tiles = uniform_map("l", make_grid(weight.shape[0], weight.shape[1]))
    known = LayerStatistics("l", 1, hessian=hessian, source="bench")
    if name.endswith("nearest"):
        return dequantize(quantize_weight(weight, tiles=tiles, codebooks=(book,), statistics=known))
    return dequantize(quantize_weight_compensated(weight, tiles=tiles, codebooks=(book,), statistics=known))


def torchao(name: str, weight: np.ndarray, hessian: np.ndarray):
    import torch
    from torchao.quantization import quant_primitives as q

    tensor, block = torch.from_numpy(weight), (1, 128)
    scale, zero = q.choose_qparams_affine(tensor, q.MappingType.ASYMMETRIC, block, torch.int8, 0, 15)
    code = q.quantize_affine(tensor, block, scale, zero, torch.int8, 0, 15)
    return q.dequantize_affine(code, block, scale, zero, torch.int8, 0, 15).numpy()


def hqq(name: str, weight: np.ndarray, hessian: np.ndarray):
    import torch
    from hqq.core.quantize import Quantizer

    code, meta = Quantizer.quantize(
        torch.from_numpy(weight), nbits=4, group_size=128, axis=1, device="cpu", compute_dtype=torch.float32
    )
    return Quantizer.dequantize(code, meta).float().numpy()


def llmcompressor(name: str, weight: np.ndarray, hessian: np.ndarray):
    import torch
    from compressed_tensors.quantization import QuantizationArgs
    from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

    groups = torch.from_numpy(weight).reshape(weight.shape[0], -1, 128)
    low, high = groups.amin(2).clamp(max=0), groups.amax(2).clamp(min=0)
    scale = (high - low) / 15
    zero = torch.round(-low / scale) - 8
    arguments = QuantizationArgs(num_bits=4, symmetric=False, strategy="group", group_size=128, actorder="weight")
    made, _, _ = quantize_weight(
        torch.tensor(weight)[None], torch.tensor(hessian)[None], scale[None], zero[None], None, arguments
    )
    return made[0].numpy()


def method(name: str):
    if name in PEERS:
        return {"torchao": torchao, "hqq": hqq, "llmcompressor": llmcompressor}[PEERS[name]]
    return halo if name in HALO else ours


def work(name: str, out: int, features: int) -> dict[str, float | int | str]:
    """In a process of its own: warm up on a corner of the layer, then run the whole, timed."""
    weight, hessian = layer(out, features)
    small = min(features, 256)
    run = method(name)
    run(name, weight[: min(out, 16), :small].copy(), hessian[:small, :small].copy())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start, wall = clock(), time.perf_counter()
    made = run(name, weight, hessian)
    seconds, wall = clock() - start, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    error = made - weight
    sample = slice(0, min(out, 256))
    loss = float(
        ((error[sample] @ hessian) * error[sample]).sum() / ((weight[sample] @ hessian) * weight[sample]).sum()
    )
    return {
        "name": name,
        "cpu_s": seconds,
        "wall_s": wall,
        "weights_per_cpu_s": weight.size / seconds,
        "peak_rss_bytes": peak,
        "rss_of_inputs_and_imports_bytes": before,
        "relative_output_loss": loss,
    }


def floors(out: int, features: int) -> dict[str, float]:
    """Seconds that moving the bytes and multiplying the numbers take on this machine."""
    weight = np.ones((min(out, 1024), features), np.float32)
    code = np.empty(weight.shape, np.int8)
    start = clock()
    np.copyto(code, weight, casting="unsafe")
    move = (clock() - start) * out / weight.shape[0]
    a = np.ones((1024, 1024), np.float32)
    a @ a
    start = clock()
    for _ in range(3):
        a @ a
    rate = 3 * 1024**3 / (clock() - start)
    return {
        "nearest_s": move,
        "compensated_s": move + (features**3 / 3 + out * features**2 / 2) / rate,
        "matrix_product_multiply_adds_per_s": rate,
    }


def spawn(python: str, name: str, out: int, features: int) -> dict[str, float | int | str]:
    """Run `work` in another process; if a peer fails, return its error, so that the others still run."""
    environment = dict(os.environ) | {
        key: "1" for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    }
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1] / "src")
    command = [python, "-W", "ignore", __file__, "--work", name, "--out", str(out), "--in", str(features)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"name": name, "failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=int, default=4096)
    parser.add_argument("--in", type=int, default=11008, dest="features")
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--work", default=None, help=argparse.SUPPRESS)
    for peer in sorted(set(PEERS.values())):
        parser.add_argument(f"--{peer}", default=None, metavar="PYTHON")
    given = parser.parse_args()
    if given.work:
        print(json.dumps(work(given.work, given.out, given.features)))
        return
    names = [*OURS, *HALO, *(name for name, peer in PEERS.items() if getattr(given, peer))]
    results = {}
    for name in names if given.only is None else given.only:
        python = getattr(given, PEERS[name]) if name in PEERS else sys.executable
        results[name] = spawn(python or sys.executable, name, given.out, given.features)
    floor = floors(given.out, given.features)
    for name, found in results.items():
        slow = any(word in name for word in ("gptq", "spqr", "slim", "compensated"))
        found["floor_s"] = floor["compensated_s" if slow else "nearest_s"]
    ratios = {
        f"{mine} / {peer}": {
            "speed": results[mine]["weights_per_cpu_s"] / results[peer]["weights_per_cpu_s"],
            "memory": results[mine]["peak_rss_bytes"] / results[peer]["peak_rss_bytes"],
            "loss": results[mine]["relative_output_loss"] / results[peer]["relative_output_loss"],
        }
        for peer, pair in SAME.items()
        for mine in pair
        if "cpu_s" in results.get(peer, {}) and "cpu_s" in results.get(mine, {})
    }
    shape = {"out": given.out, "in": given.features, "threads": 1}
    print(json.dumps({"layer": shape, "floor": floor, "results": results, "ratio": ratios}, indent=1))


if __name__ == "__main__":
    main()
