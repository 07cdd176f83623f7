"""The sum of a table of single products beside the time of a packed model's whole pass. Prints JSON.

    python bench/operators.py PACKED [--threads 1] [--batch 1 8 64] [--repeats 15]

`table_s` is the sum over the model's layers by `jobs.operator_speed`: the share of fast tiles times the time of nine
words, and the rest of sixteen. `rest_s` is a pass whose packed layers return zeros: attention, norms, head and Python.
`whole_s` is a pass of the model. All three are measured in turn in this run, and are medians. `whole_ratio` is (table +
rest) / whole; `layers_ratio` is table / (whole - rest), the stricter figure. Set OMP_WAIT_POLICY=passive where other
programs run.
"""

import argparse
import json
import time

import numpy as np
import torch

import haloquant
from haloquant.jobs.operator_speed import OperatorSettings, drawn_layers, time_layers
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.records.operator_costs import Mix

MIXES: tuple[Mix, ...] = ("nine", "sixteen")


class Zeros(torch.nn.Module):
    """In place of a layer: zeros of its output's shape."""

    def __init__(self, out_features: int) -> None:
        super().__init__()
        self.out_features = out_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return zeros [..., out]."""
        return x.new_zeros(*x.shape[:-1], self.out_features)


def without_layers(packed: str) -> torch.nn.Module:
    """Return the model whose packed layers return zeros."""
    model = haloquant.load(packed, dtype=torch.float32)
    for name, module in list(model.named_modules()):
        if isinstance(module, HaloLinear):
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, Zeros(module.out_features))
    return model


def main() -> None:
    """Make the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--repeats", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.set_grad_enabled(False)
    model, rest = haloquant.load(asked.packed, dtype=torch.float32), without_layers(asked.packed)
    layers = [module.layer() for module in model.modules() if isinstance(module, HaloLinear)]
    shapes = [(layer.grid.out_features, layer.grid.in_features) for layer in layers]
    weights = sum(out * width for out, width in shapes)
    sparse = sum(0 if layer.sparse is None else layer.sparse.value.numel() for layer in layers) / weights
    found = {}
    for batch in asked.batch:
        tokens = torch.arange(batch)[None] % 200 + 5
        times: dict[str, list[float]] = {"whole": [], "rest": [], "table": []}
        fast: list[float] = []
        settings = OperatorSettings((batch,), 1, layers[0].grid.tile_in, sparse)
        drawn = {mix: drawn_layers(shapes, mix, settings, torch.device("cpu")) for mix in MIXES}
        for turn in range(asked.repeats + 1):
            rows = {
                (row.mix, row.out_features, row.in_features): row.median_s
                for mix, some in drawn.items()
                for row in time_layers(some, mix, batch, 1, torch.device("cpu"), ())
            }
            total = 0.0
            for layer, shape in zip(layers, shapes, strict=True):
                share = float((layer.classes == layer.sizes.index(min(layer.sizes))).float().mean())
                fast.append(share)
                total += share * rows["nine", *shape] + (1 - share) * rows["sixteen", *shape]
            for name, run in (("whole", model), ("rest", rest)):
                begin = time.perf_counter()
                run(input_ids=tokens, use_cache=False)
                if turn:
                    times[name].append(time.perf_counter() - begin)
            if turn:
                times["table"].append(total)
        row = {f"{name}_s": float(np.median(part)) for name, part in times.items()}
        row["whole_ratio"] = (row["table_s"] + row["rest_s"]) / row["whole_s"]
        row["layers_ratio"] = row["table_s"] / (row["whole_s"] - row["rest_s"])
        row["fast_share"] = float(np.mean(fast))
        found[str(batch)] = row
    print(json.dumps({"threads": asked.threads, "layers": len(layers), "sparse_share": sparse, "batches": found}))


if __name__ == "__main__":
    main()
