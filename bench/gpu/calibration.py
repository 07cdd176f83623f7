"""Measure calibration on a GPU: whole blocks of a 7B shape, agreement with the CPU, and the demo model end to end.

    python bench/gpu/calibration.py [--windows 32] [--shape 1gb] [--workers 8] [--device cuda:0] [--only SECTION ...]
        [--out FILE]

It prints one JSON object. `blocks` has the seconds of each block (the first one also warms the GPU up) and the rate in
products of float32 numbers; the floor is the rate of a plain product of 8192 x 8192 on the same board. `agreement` has
the largest difference of each statistic from the CPU's, relative to its largest value. `demo` has the seconds of
`haloquant quantize demo` with calibration on the CPU and on the GPU, how many packed bytes differ, and both models'
perplexity. `--device cpu:0 --shape small` takes the same way on the CPU and finds mistakes; its times mean nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from haloquant.lm.calibration.by_block import collect_by_block
from haloquant.lm.calibration.in_memory import cut_windows
from haloquant.lm.checkpoint.reader import Checkpoint, open_checkpoint
from haloquant.records import CalibrationDtype

HERE = Path(__file__).parent


def made(folder: Path, shape: str) -> Checkpoint:
    """A checkpoint of random weights."""
    subprocess.run([sys.executable, str(HERE.parent / "make_checkpoint.py"), str(folder), "--shape", shape], check=True)
    return open_checkpoint(folder)


def floor_tera_per_s(device: str) -> float:
    """10^12 multiplications and additions per second of a plain float32 product."""
    size = 8192 if device.startswith("cuda") else 512
    a = torch.randn(size, size, device=device)
    for _ in range(3):
        a @ a
    wait(device)
    began = time.perf_counter()
    for _ in range(5):
        a @ a
    wait(device)
    return 5 * 2 * size**3 / (time.perf_counter() - began) / 1e12


def wait(device: str) -> None:
    """Let the GPU finish."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def operations(checkpoint: Checkpoint, block: int, tokens: int) -> float:
    """Multiplications and additions of a block: forward, backward to its input, squared gradients, Hessians."""
    layers = [layer for layer in checkpoint.layers if layer.block == block]
    weights = sum(layer.out_features * layer.in_features for layer in layers)
    inputs = {(layer.group, layer.in_features): layer.in_features for layer in layers}
    return 2.0 * tokens * (3 * weights + sum(n * n for n in inputs.values()))


def blocks(folder: Path, device: str, shape: str, windows: int, dtype: CalibrationDtype = "float32") -> dict[str, Any]:
    """Calibrate every block of the shape, with products of this type."""
    folder = folder / "model"
    checkpoint = open_checkpoint(folder) if folder.exists() else made(folder, shape)
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    length = 256 if shape == "small" else 2048
    tokens = np.random.default_rng(0).integers(0, vocabulary, windows * length)
    ends = [time.perf_counter()]
    for _ in collect_by_block(
        checkpoint,
        cut_windows(tokens, length, windows),
        dtype=dtype,
        device=device,
        passed=lambda _block, _states: ends.append(time.perf_counter()),
    ):
        pass
    rows = [
        {"block": block, "s": took, "tera_per_s": operations(checkpoint, block, windows * length) / took / 1e12}
        for block, took in enumerate(np.diff(ends).tolist())
    ]
    peak = torch.cuda.max_memory_allocated() if device.startswith("cuda") else 0
    return {
        "shape": shape,
        "dtype": dtype,
        "tokens": windows * length,
        "rows": rows,
        "peak_device_bytes": peak,
        "floor_tera_per_s": floor_tera_per_s(device),
    }


def agreement(folder: Path, device: str) -> dict[str, float]:
    """The statistics of a small model on both devices."""
    checkpoint = made(folder / "model", "small")
    windows = cut_windows(np.random.default_rng(0).integers(0, 512, 8 * 128), 128, 8)
    plain = dict(collect_by_block(checkpoint, windows))
    worst: dict[str, float] = {}
    for layer, known in collect_by_block(checkpoint, windows, device=device):
        for part in ("hessian", "fisher", "input_absmean", "input_absmax"):
            ours, wanted = getattr(known, part), getattr(plain[layer], part)
            gap = float(np.abs(ours - wanted).max() / np.abs(wanted).max())
            worst[part] = max(worst.get(part, 0.0), gap)
    return worst


def demo(folder: Path, gpu: str, workers: int) -> dict[str, Any]:
    """Quantize and evaluate the demo model with both devices."""
    rows: dict[str, Any] = {"workers": workers}
    for name, device in (("cpu", "cpu"), ("gpu", gpu)):
        out = folder / name
        began = time.perf_counter()
        haloquant("quantize", "demo", "--out", str(out), "--device", device, "--workers", str(workers), "--quiet")
        quantized = time.perf_counter()
        score = haloquant("evaluate", str(out), "--device", device, "--json", "--quiet")
        rows[name] = {
            "quantize_s": quantized - began,
            "evaluate_s": time.perf_counter() - quantized,
            "perplexity": json.loads(score)["perplexity"],
        }
    cpu, other = (
        b"".join(file.read_bytes() for file in sorted((folder / name).glob("*.safetensors"))) for name in ("cpu", "gpu")
    )
    size = min(len(cpu), len(other))
    same = np.frombuffer(cpu[:size], np.uint8) == np.frombuffer(other[:size], np.uint8)
    rows |= {"bytes": size, "bytes_that_differ": int(size - same.sum())}
    return rows


def haloquant(*arguments: str) -> str:
    """Run the command line; return what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "haloquant", *arguments], check=True, capture_output=True, text=True
    ).stdout


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=32)
    parser.add_argument("--shape", default="1gb")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--only", nargs="*", default=["agreement", "blocks", "demo"])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    gpu = asked.device.startswith("cuda")
    if gpu and not torch.cuda.is_available():
        sys.exit("this measures a GPU, and torch finds none here")
    found: dict[str, Any] = {"board": torch.cuda.get_device_name() if gpu else "none", "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as folder:
        sections: dict[str, Callable[[Path], dict[str, Any]]] = {
            "agreement": lambda at: agreement(at, asked.device),
            "blocks": lambda at: blocks(at, asked.device, asked.shape, asked.windows),
            "demo": lambda at: demo(at, "cuda" if gpu else "cpu", asked.workers),
        }
        for name in asked.only:
            measure = sections[name]
            began = time.perf_counter()
            place = Path(folder) / name
            place.mkdir()
            try:
                found[name] = measure(place)
            except (RuntimeError, subprocess.CalledProcessError, OSError) as error:
                found[name] = {"error": f"{error} {getattr(error, 'stderr', '')}"[:2000]}
            found[f"{name}_s"] = time.perf_counter() - began
            if asked.out:
                asked.out.write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
