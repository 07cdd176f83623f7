"""Time one generated token of a packed model on a CPU, beside the model that it was made of. Prints JSON.

    python bench/generation.py PACKED SOURCE [--llama MODEL.gguf] [--threads 1] [--tokens 40] [--context 32]

The candidates take turns, one token each: the packed model with float and with int8 activations, from compiled parts
(`lm.packed.token_step`), and in bfloat16 also by transformers alone, and with the head in 8 bits; the source, a folder
or a GGUF file, in float32 and in bfloat16; and with --llama the GGUF file of the same model in llama.cpp (pip install
llama-cpp-python), which makes it Q4_0 first. `parts` are the products of all packed layers, and the head, of the packed
models in bfloat16.
`ms` is the median wall time of a token, `cpu_ms` that of processor time (of llama.cpp, which runs in a process of its
own: not known). `floor_ms` is the time to read the stored
bytes of all linear layers once (of llama.cpp: of its file), at a rate measured in the same run.
Set OMP_WAIT_POLICY=passive where other programs run on the machine: threads that wait then sleep.
"""

import argparse
import json
import time
from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import haloquant
from haloquant.jobs.evaluation import open_model
from haloquant.jobs.inputs import model_folder
from haloquant.kernels.cpu.instruction_set import INSTRUCTION_SET
from haloquant.lm.generation import bytes_per_token, read_rate_b_per_s
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.lm.packed.token_step import read_joint

Step = Callable[[], int]  # generates one token
PAUSE_S = 0.01  # before each token: threads of the candidate before it then sleep


def in_torch(model: Any, prompt: list[int]) -> Step:
    """Return what generates the next token of a model of transformers, again and again."""
    out = model(input_ids=torch.tensor([prompt]), use_cache=True)
    cache, last = out.past_key_values, int(out.logits[0, -1].argmax())

    def step() -> int:
        nonlocal last
        found = model(input_ids=torch.tensor([[last]]), past_key_values=cache, use_cache=True)
        last = int(found.logits[0, -1].argmax())
        return last

    return step


def in_llama(file: Path, prompt: list[int], threads: int, folder: Path, most: int) -> tuple[Step, int]:
    """Return what generates the next token in llama.cpp from Q4_0, in a process of its own, and the bytes of its file.

    Threads that wait for work of another library would slow it down.
    """
    spawned = get_context("spawn")
    ours, theirs = spawned.Pipe()
    spawned.Process(target=_serve_llama, args=(theirs, file, prompt, threads, folder, most), daemon=True).start()

    def step() -> int:
        ours.send("next")
        return ours.recv()

    return step, ours.recv()


def _serve_llama(pipe: Any, file: Path, prompt: list[int], threads: int, folder: Path, most: int) -> None:
    """Send the bytes of the file, and then a token whenever one is asked for."""
    llama_cpp = import_module("llama_cpp")
    out = folder / "q4_0.gguf"
    asked = llama_cpp.llama_model_quantize_default_params()
    asked.ftype, asked.allow_requantize, asked.nthread = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, True, threads
    if llama_cpp.llama_model_quantize(str(file).encode(), str(out).encode(), asked):
        raise SystemExit(f"llama.cpp cannot quantize {file}")
    model = llama_cpp.Llama(
        str(out), n_ctx=len(prompt) + most + 8, n_threads=threads, n_threads_batch=threads, verbose=False
    )
    model.eval(prompt)
    pipe.send(out.stat().st_size)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        logits = llama_cpp.llama_get_logits_ith(model.ctx, -1)
        last = int(np.argmax(np.ctypeslib.as_array(logits, shape=(model.n_vocab(),))))
        model.eval([last])
        pipe.send(last)


def by_transformers(model: Any) -> Any:
    """Return a copy of a packed model whose tokens are all computed by transformers."""
    twin = deepcopy(model)
    twin.model.__class__ = type(twin.model).__bases__[0]
    twin.lm_head.__class__ = torch.nn.Linear
    return twin


def parts_ms(model: Any, repeats: int) -> dict[str, float]:
    """Return the median milliseconds of the products of all packed layers, and of the head, for one token."""
    layers = [module for module in model.modules() if isinstance(module, HaloLinear)]
    products = [product for layer in layers if (product := read_joint(layer)) is not None]
    inputs = [np.ones(layer.in_features, np.float32) for layer in layers]
    state = torch.ones(1, 1, model.config.hidden_size, dtype=model.dtype)
    found: dict[str, list[float]] = {"products": [], "head": []}
    for _ in range(repeats):
        begin = time.perf_counter()
        for product, x in zip(products, inputs, strict=True):
            product.multiply(x)
        middle = time.perf_counter()
        model.lm_head(state)
        found["products"].append(middle - begin)
        found["head"].append(time.perf_counter() - middle)
    return {name: round(1e3 * float(np.median(times)), 2) for name, times in found.items()}


def main() -> None:
    """Make the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed")
    parser.add_argument("source")
    parser.add_argument("--llama", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--context", type=int, default=32)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.set_grad_enabled(False)
    prompt = list(range(5, 5 + asked.context))
    rate = read_rate_b_per_s(torch.device("cpu"))
    models: dict[str, Any] = {}
    for dtype in (torch.float32, torch.bfloat16):
        for activations in ("float", "int8"):
            name = f"packed, {str(dtype)[6:]}, {activations} activations"
            models[name] = haloquant.load(asked.packed, dtype=dtype, activations=activations)
            if dtype is torch.bfloat16:
                models[f"{name}, by transformers"] = by_transformers(models[name])
                models[f"{name}, head of 8 bits"] = haloquant.load(
                    asked.packed, dtype=dtype, activations=activations, head_bits=8
                )
    for dtype in ("float32", "bfloat16"):
        models[f"source, {dtype}"] = open_model(model_folder(asked.source), dtype, "cpu").model
    steps = {name: in_torch(model, prompt) for name, model in models.items()}
    floors = {name: bytes_per_token(model) for name, model in models.items()}
    with TemporaryDirectory() as folder:
        if asked.llama is not None:
            name = "llama.cpp, Q4_0"
            steps[name], floors[name] = in_llama(asked.llama, prompt, asked.threads, Path(folder), asked.tokens)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
        for _ in range(asked.tokens):
            for name, step in steps.items():
                time.sleep(PAUSE_S)
                begin = time.perf_counter(), time.process_time()
                step()
                times[name].append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    kinds = ("float", "int8")
    parts = {each: parts_ms(models[f"packed, bfloat16, {each} activations"], asked.tokens) for each in kinds}
    base = np.median([wall for wall, _ in times["source, bfloat16"]])
    rows = {
        name: {
            "ms": round(1e3 * float(np.median([wall for wall, _ in found])), 2),
            "least_ms": round(1e3 * min(wall for wall, _ in found), 2),
            "cpu_ms": round(1e3 * float(np.median([cpu for _, cpu in found])), 2) if name in models else None,
            "times_bfloat16": round(float(base / np.median([wall for wall, _ in found])), 2),
            "floor_ms": round(1e3 * floors[name] / rate, 2),
        }
        for name, found in times.items()
    }
    about = {"threads": asked.threads, "instruction_set": INSTRUCTION_SET, "read_gb_per_s": round(rate / 1e9, 1)}
    print(json.dumps({**about, "tokens": asked.tokens, "parts": parts, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
