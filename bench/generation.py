"""Time one generated token of a packed model on a CPU, beside the model that it was made of. Prints JSON.

    python bench/generation.py PACKED SOURCE [--threads 1] [--tokens 40] [--context 32]

The candidates take turns, one token each: the packed model with float and with int8 activations, and the source in
float32 and in bfloat16, all in transformers. `ms` is the median wall time of a token, `cpu_ms` that of processor time.
`floor_ms` is the time to read the stored bytes of all linear layers once, at a rate measured in the same run.
Set OMP_WAIT_POLICY=passive where other programs run on the machine: threads that wait then sleep.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

import haloquant
from haloquant.kernels.cpu.instruction_set import INSTRUCTION_SET
from haloquant.lm.packed.halo_linear import HaloLinear


def stored_bytes(model: Any) -> int:
    """Bytes that one token reads: of every linear layer, as it is stored."""
    packed = sum(m.layer().bytes for m in model.modules() if isinstance(m, HaloLinear))
    plain = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and not isinstance(m, HaloLinear)]
    return packed + sum(m.weight.numel() * m.weight.element_size() for m in plain)


def read_rate() -> float:
    """Bytes per second that one thread reads of an array that no cache holds; the best of five."""
    data, best = np.ones(1 << 26, np.float32), float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        float(data.max())
        best = min(best, time.perf_counter() - begin)
    return data.nbytes / best


def main() -> None:
    """Make the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed")
    parser.add_argument("source")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--context", type=int, default=32)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.set_grad_enabled(False)
    models = {
        "packed, float32": haloquant.load(asked.packed, dtype=torch.float32),
        "packed, float32, int8 activations": haloquant.load(asked.packed, dtype=torch.float32, activations="int8"),
        "packed, bfloat16, int8 activations": haloquant.load(asked.packed, dtype=torch.bfloat16, activations="int8"),
        "source, float32": AutoModelForCausalLM.from_pretrained(asked.source, dtype=torch.float32),
        "source, bfloat16": AutoModelForCausalLM.from_pretrained(asked.source, dtype=torch.bfloat16),
    }
    prompt = torch.arange(5, 5 + asked.context)[None]
    first = {name: model(input_ids=prompt, use_cache=True) for name, model in models.items()}
    states = {name: [out.past_key_values, out.logits[:, -1:].argmax(-1)] for name, out in first.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for _ in range(asked.tokens):
        for name, model in models.items():
            begin = time.perf_counter(), time.process_time()
            out = model(input_ids=states[name][1], past_key_values=states[name][0], use_cache=True)
            states[name] = [out.past_key_values, out.logits[:, -1:].argmax(-1)]
            times[name].append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    rate = read_rate()
    base = np.median([wall for wall, _ in times["source, bfloat16"]])
    rows = {
        name: {
            "ms": round(1e3 * float(np.median([wall for wall, _ in found])), 2),
            "cpu_ms": round(1e3 * float(np.median([cpu for _, cpu in found])), 2),
            "times_bfloat16": round(float(base / np.median([wall for wall, _ in found])), 2),
            "floor_ms": round(1e3 * stored_bytes(models[name]) / rate, 2),
        }
        for name, found in times.items()
    }
    about = {"threads": asked.threads, "instruction_set": INSTRUCTION_SET, "read_gb_per_s": round(rate / 1e9, 1)}
    print(json.dumps({**about, "tokens": asked.tokens, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
