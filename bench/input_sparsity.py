"""Sparse inputs: what they cost in accuracy, and how much time a product with a token takes, in one run.

Accuracy: the rise of the loss over the same model with dense inputs, from differences window by window, in nats per
token with its standard error, for uniform and divided sparsity. With `--ranks`, a branch of low rank gets the inputs
that are left out, at the same multiply-accumulates in all (R-Sparse, arXiv 2504.19449): with a share rho of the work
that is left for the sparse part, the sparsity is 1 - (1 - s) rho and the rank (1 - rho)(1 - s) out in / (out + in).

Time: a product by columns against the dense product of the same layer. Its floor is the density: the share of the
columns that is read.

    python bench/input_sparsity.py --model demo-halo --text books_test.txt.xz
"""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import torch
from gemv import measure, random_layer

from haloquant.jobs.evaluation import open_model
from haloquant.jobs.input_sparsity import loaded_weights, mac_density
from haloquant.jobs.inputs import model_folder, read_text
from haloquant.kernels import dispatch, fallback
from haloquant.kernels.cpu.column_products import by_column
from haloquant.lm.evaluation.perplexity import default_window, perplexity
from haloquant.lm.evaluation.sparse_inputs import sparse_inputs
from haloquant.lm.input_sparsity import InputMasks, find_input_masks, sample_windows
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.lm.swap_weights import find_module


@contextmanager
def branches(model: Any, found: InputMasks, weights: Any, ranks: dict[str, int], first: int) -> Iterator[None]:
    """Within the block, a branch of low rank adds its product with the inputs that are left out of tokens from `first`.

    Its hooks must be set before those of the masks, so that they see all inputs.
    """
    kept: dict[str, torch.Tensor] = {}

    def before(layer: str) -> Callable[..., None]:
        norm = torch.from_numpy(found.masks[layer].norm).float()
        threshold = found.masks[layer].threshold

        def hook(_module: Any, args: tuple[torch.Tensor, ...]) -> None:
            dense = args[0].clone()
            dense[:, :first] = 0
            kept[layer] = dense - fallback.masked_inputs(dense, norm, threshold)

        return hook

    def after(layer: str) -> Callable[..., torch.Tensor]:
        u, s, v = torch.linalg.svd(torch.from_numpy(weights[layer]), full_matrices=False)
        left, right = u[:, : ranks[layer]] * s[: ranks[layer]], v[: ranks[layer]]
        return lambda _module, _args, y: y + kept[layer] @ right.T @ left.T

    with ExitStack() as stack:
        for layer in found.masks:
            module = find_module(model, layer)
            stack.callback(module.register_forward_pre_hook(before(layer)).remove)
            stack.callback(module.register_forward_hook(after(layer)).remove)
        yield


def accuracy(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the rises of the loss, by how the sparsity is divided and by sparsity."""
    folder = model_folder(arguments.model)
    model, layers, _, _ = open_model(folder)
    tokens = read_text(folder, arguments.text, "evaluation").tokens
    sample = sample_windows(read_text(folder, arguments.calibration, "calibration").tokens, default_window(model))
    for layer in layers:
        module = find_module(model, layer)
        if isinstance(module, HaloLinear):  # decoded once, and not in every pass
            model.set_submodule(next(path for path, one in model.named_modules() if one is module), module.to_linear())
    weights = loaded_weights(model, layers)
    window, share = default_window(model), arguments.dense_share

    def nats() -> np.ndarray:
        score = perplexity(model, tokens, max_windows=arguments.windows, context_share=share)
        return np.array(score.window_nats)

    dense = nats()

    def rise(found: InputMasks, ranks: dict[str, int] | None = None) -> dict[str, float]:
        with ExitStack() as stack:
            if ranks is not None:
                stack.enter_context(branches(model, found, weights, ranks, int(share * window)))
            counts = stack.enter_context(sparse_inputs(model, found.masks, share))
            gaps = nats() - dense
        return {
            "rise_nats": float(gaps.mean()),
            "standard_error": float(gaps.std(ddof=1) / len(gaps) ** 0.5),
            "density": mac_density(counts, found.macs),
        }

    table: dict[str, Any] = {"perplexity_with_dense_inputs": float(np.exp(dense.mean())), "windows": len(dense)}
    for allocation in arguments.allocation:
        for sparsity in arguments.sparsity:
            found = find_input_masks(model, weights, sample, sparsity, allocation)
            table.setdefault(allocation, {})[f"{sparsity:g}"] = rise(found)
    for rho in arguments.ranks:
        left = 0.5 * rho
        found = find_input_masks(model, weights, sample, 1 - left)
        sizes = {layer: weights[layer].shape for layer in layers}
        ranks = {name: int((1 - rho) * 0.5 * out * into / (out + into)) for name, (out, into) in sizes.items()}
        table.setdefault("with a branch, at half of the work", {})[f"{rho:g}"] = rise(found, ranks)
    return table


def time_of_products(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the time of a product by columns over that of the dense product, with its floor."""
    table: dict[str, Any] = {}
    one = torch.ones(1)
    for name, share in (("sixteen words", 0.0), ("nine words", 1.0), ("half and half", 0.5)):
        layer = random_layer(*arguments.shape, share, 0.005)
        by_columns = replace(layer, columns=by_column(fallback.unpack_codes(layer).numpy(), layer.arrays))
        x, integers = (
            torch.randn(1, arguments.shape[1]),
            torch.randint(-127, 128, (1, arguments.shape[1]), dtype=torch.int8),
        )
        drawn = torch.rand(1, arguments.shape[1])
        runs: dict[str, Callable[[], object]] = {
            "dense": lambda layer=layer, x=x: dispatch.linear(x, layer),
            "dense, int8": lambda layer=layer, x=integers: dispatch.integer_linear(x, one, layer),
        }
        for density in arguments.density:
            some, whole = x * (drawn < density), integers * (drawn < density)
            runs[f"{density:g}"] = lambda layer=by_columns, x=some: dispatch.linear(x, layer)
            runs[f"{density:g}, int8"] = lambda layer=by_columns, x=whole: dispatch.integer_linear(x, one, layer)
        rows = measure(runs, arguments.repeats)
        table[name] = {
            key: {
                "floor": float(key.removesuffix(", int8")),
                **{
                    clock: row[f"{clock}_s"] / rows["dense, int8" if "int8" in key else "dense"][f"{clock}_s"]
                    for clock in ("wall", "cpu")
                },
            }
            for key, row in rows.items()
            if "dense" not in key
        }
    return table


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model folder or `demo`; without it only times are measured")
    parser.add_argument("--text", default="demo")
    parser.add_argument("--calibration", default="demo")
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--dense-share", type=float, default=0.5)
    parser.add_argument("--sparsity", type=float, nargs="*", default=[0.25, 0.4, 0.5, 0.6])
    parser.add_argument("--allocation", nargs="*", default=["uniform", "divergence"])
    parser.add_argument("--ranks", type=float, nargs="*", default=[0.95, 0.9], help="shares rho for the sparse part")
    parser.add_argument("--density", type=float, nargs="*", default=[1.0, 0.75, 0.6, 0.5, 0.4, 0.25])
    parser.add_argument("--shape", type=int, nargs=2, default=(4096, 4096), metavar=("OUT", "IN"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=21)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    numba.set_num_threads(arguments.threads)
    found: dict[str, Any] = {"shape": tuple(arguments.shape), "threads": arguments.threads}
    found["time over that of the dense product, by density"] = time_of_products(arguments)
    if arguments.model:
        found[f"loss, {arguments.model}"] = accuracy(arguments)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
