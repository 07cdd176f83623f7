"""Take a tiny random model of every decoder of transformers from calibration to a packed model that is saved again.

python bench/model_families.py                 # every family that the installed transformers knows, one JSON line each
python bench/model_families.py mixtral bamba   # these
python bench/model_families.py --calibration-dtype bfloat16

A line gives the result ("done", "refused" with the sentence, "no tiny model", or "wrong"), the layers, and distances
of logits: of experts as layers of their own from transformers' own (`experts`), of the packed model from the original
with the de-quantized weights (`packed`), and of the model saved and loaded again from the packed one (`again`).
`blocks` is the largest distance of a layer's Hessian, summed block by block, from that of hooks on the whole model. A
family whose model transformers does not build is asked for with its config.json alone.
"""

import argparse
import json
import math
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import haloquant
from haloquant.errors import HaloquantError
from haloquant.lm.calibration.by_block import collect_by_block
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.packed.reader import iterate_layers, open_packed
from haloquant.lm.swap_weights import find_module, with_weights
from haloquant.lm.torch_model import load_model
from haloquant.quant.layer import dequantize
from haloquant.records import CalibrationDtype
from support.model_families import MODEL_TYPES, TEXT, save_model, tiny_config


def logits(model: Any) -> torch.Tensor:
    """Return the logits of a fixed text."""
    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 35)[None], use_cache=False).logits.double()


def distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the relative distance of two tensors."""
    return float((first - second).norm() / first.norm())


def refused_configuration(folder: Path, config: Any, model_type: str) -> dict[str, Any] | None:
    """Return the line of a family whose configuration alone is refused, as transformers builds no model from it."""
    config.save_pretrained(folder)
    try:
        haloquant.forecast(folder / "config.json")
    except HaloquantError as error:
        return {"result": "refused", "why": str(error).replace(str(folder), model_type)}
    return None


def worst_hessian(source: Path, model: Any) -> float:
    """Return the largest relative distance of Hessians block by block from x^T x, summed by hooks on the model."""
    windows, checkpoint = np.random.default_rng(0).integers(3, 259, (3, 32)), open_checkpoint(source)
    inputs: dict[str, list[torch.Tensor]] = {}
    handles = [
        find_module(model, layer.name).register_forward_pre_hook(
            lambda _, x, name=layer.name: inputs.setdefault(name, []).append(x[0].double().flatten(0, -2))
        )
        for layer in checkpoint.layers
    ]
    with torch.no_grad():
        for row in windows:
            model(input_ids=torch.from_numpy(row[None]), use_cache=False)
    for handle in handles:
        handle.remove()
    worst = 0.0
    for layer, known in collect_by_block(checkpoint, windows, fisher="none", value_hessian="inputs"):
        if "stands in" in known.source:
            continue
        x = torch.cat(inputs.get(layer.name, [torch.zeros(0, layer.in_features, dtype=torch.double)]))
        if known.hessian is None or known.tokens != len(x):
            worst = worst if len(x) == known.tokens == 0 else math.inf
        else:
            worst = max(worst, distance(2 / len(x) * x.T @ x, torch.from_numpy(known.hessian)))
    return worst


def measure(model_type: str, folder: Path, dtype: CalibrationDtype) -> dict[str, Any]:
    """Return the line of one family, calibrated with products of a type; its models are written to `folder`."""
    source, out, again = folder / "model", folder / "packed", folder / "again"
    config = tiny_config(model_type)
    try:
        plain = save_model(source, config)
    except Exception as error:  # transformers builds no such model, or the small sizes do not fit this family
        return refused_configuration(source, config, model_type) or {"result": "no tiny model", "why": str(error)[:120]}
    (folder / "text.txt").write_text(TEXT)
    given = {"goal": "acc-opt", "calibration": folder / "text.txt", "samples": 2, "tile": 32, "progress": False,
             "calibration_dtype": dtype}  # fmt: skip
    try:
        made = haloquant.quantize(source, out, **given)
    except HaloquantError as error:
        return {"result": "refused", "why": str(error).replace(str(source), model_type)}
    packed, whole = haloquant.load(out, dtype=torch.float32), load_model(source)
    weights = {layer.layer: dequantize(layer) for layer in iterate_layers(open_packed(out))}
    found = {"experts": distance(logits(plain.float()), logits(whole)), "blocks": worst_hessian(source, whole)}
    with with_weights(whole, weights) as replaced:
        found["packed"] = distance(logits(replaced), logits(packed))
    packed.save_pretrained(again)
    haloquant.verify(again)
    found["again"] = distance(logits(packed), logits(haloquant.load(again, dtype=torch.float32)))
    right = max(found.values()) < 1e-5
    return {"result": "done" if right else "wrong", "layers": made.layers, "left": len(made.left), **found}


def main() -> None:
    """Measure the families named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=MODEL_TYPES)
    parser.add_argument("--calibration-dtype", choices=("float32", "bfloat16"), default="float32")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    for model_type in given.families:
        with TemporaryDirectory() as folder:
            try:
                found = measure(model_type, Path(folder), given.calibration_dtype)
            except Exception as error:  # what no family should raise; the others are still measured
                found = {"result": "wrong", "why": f"{type(error).__name__}: {error}"[:300]}
            print(json.dumps({"family": model_type, **found}), flush=True)


if __name__ == "__main__":
    main()
