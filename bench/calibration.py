"""Cost of calibration relative to the forward and backward pass that it needs in any case; prints one JSON object.

    python bench/calibration.py [--hidden 512] [--blocks 4] [--tokens 2048]

The model has random float32 weights and Llama's shape. The floor is one forward and one backward pass in which autograd
computes the gradient of the whole batch. The Fisher information needs more: the gradient of each sample.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from haloquant.lm.calibration.in_memory import collect


def cpu_seconds(work: Callable[[], Any]) -> float:
    """The least CPU time of three runs."""
    times = []
    for _ in range(3):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=2048)
    given = parser.parse_args()
    torch.manual_seed(0)
    shape = {"vocab_size": 1024, "hidden_size": given.hidden, "intermediate_size": 11 * given.hidden // 4}
    config = LlamaConfig(**shape, num_hidden_layers=given.blocks, num_attention_heads=given.hidden // 64)
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    linear = torch.nn.Linear
    layers = [n for n, m in model.named_modules() if isinstance(m, linear) and n != "lm_head"]
    weights = sum(model.get_submodule(n).weight.numel() for n in layers)
    tokens = np.random.default_rng(0).integers(0, 1024, given.tokens)
    window = 256
    batch = torch.from_numpy(tokens[: given.tokens // window * window].reshape(-1, window))

    def backward() -> None:
        model.requires_grad_(True)
        model.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        model.requires_grad_(False)
        model.zero_grad()

    def calibrate(fisher: str, hessian: bool) -> Callable[[], Any]:
        return lambda: collect(model, tokens, layers, window, len(batch), fisher=fisher, hessian=hessian)  # type: ignore[arg-type]

    floor = cpu_seconds(backward)
    figures = {
        "fisher by sample and hessian": cpu_seconds(calibrate("sample", True)),
        "fisher by sample": cpu_seconds(calibrate("sample", False)),
        "fisher by token": cpu_seconds(calibrate("token", False)),
        "hessian": cpu_seconds(calibrate("none", True)),
    }
    report = {
        "weights": weights,
        "tokens": batch.numel(),
        "threads": torch.get_num_threads(),
        "floor": {"what": "forward and backward with autograd's weight gradients", "cpu_seconds": floor},
        "cpu_seconds": figures,
        "times_the_floor": {name: seconds / floor for name, seconds in figures.items()},
        "cpu_seconds_per_million_weights": {name: seconds / weights * 1e6 for name, seconds in figures.items()},
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
