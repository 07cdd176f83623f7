"""Measure partial sums in a real model's layers for `haloquant characterize --partial-sums FILE`. Also prints JSON.

    python bench/measure_partial_sums.py [MODEL TEXT OUT]

Without arguments, it uses the demo model and its calibration text and writes the file that the package ships. Every
linear layer except the head gets its real inputs, rounded to 8 bits with one scale per token, and its weights, rounded
to 8 and to 4 bits with one scale per output channel. A column of ROWS weights is drawn at random, in proportion to the
layers' sizes, and then a row of this column. The partial sum at this row is the sum of the products of the rows above;
it is recorded for one token and the next. The spread is compared with a Gaussian model.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from haloquant.circuits.simulation.partial_sums import PartialSums, draw_partial_sums, summarize_partial_sums
from haloquant.circuits.simulation.stimuli import gaussian_partial_sums
from haloquant.lm.checkpoint.reader import content_hash, open_checkpoint, read_weight
from haloquant.lm.evaluation.rounded_activations import quantize_per_token
from haloquant.lm.swap_weights import find_module
from haloquant.lm.text import load_text, tokenize
from haloquant.lm.torch_model import load_model
from haloquant.store.partial_sums import DEMO_FILE, write_partial_sums

ROWS = 128  # of the array
WINDOW, WINDOWS = 256, 16
COLUMNS = 3000  # drawn over all layers
EACH = 64  # pairs drawn of each column
PACKAGE = DEMO_FILE.parents[1]


def inputs_of(model: Any, layers: list[str], windows: torch.Tensor) -> dict[str, np.ndarray]:
    """The 8-bit codes of every layer's input: [window, token, feature]."""
    seen: dict[str, np.ndarray] = {}

    def hook(name: str) -> Any:
        def see(_module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            x = args[0].detach().float()
            rounded = quantize_per_token(x)
            scale = x.abs().amax(-1, keepdim=True) / 127
            seen[name] = (rounded / scale.clamp_min(1e-30)).round().to(torch.int16).numpy()

        return see

    handles = [find_module(model, name).register_forward_pre_hook(hook(name)) for name in layers]
    with torch.no_grad():
        model(input_ids=windows)
    for handle in handles:
        handle.remove()
    return seen


def codes_of(weight: np.ndarray, bits: int) -> np.ndarray:
    """Weights [out, in] rounded to nearest, one scale per output channel."""
    top = (1 << (bits - 1)) - 1
    scale = np.abs(weight).max(axis=1, keepdims=True) / top
    return np.round(weight / np.where(scale > 0, scale, 1.0)).astype(np.int64)


def pairs_of(
    codes: np.ndarray, inputs: np.ndarray, columns: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Partial sums at one token and the next, EACH of every drawn column of ROWS weights."""
    found: list[np.ndarray] = []
    tiles = -(-codes.shape[1] // ROWS)
    for channel, tile in zip(
        generator.integers(codes.shape[0], size=columns), generator.integers(tiles, size=columns), strict=True
    ):
        part = slice(tile * ROWS, min((tile + 1) * ROWS, codes.shape[1]))
        window = inputs[generator.integers(inputs.shape[0]), :, part].astype(np.int64)
        above = np.cumsum(window * codes[channel, part], axis=1) - window * codes[channel, part]  # of the rows above
        token = generator.integers(window.shape[0] - 1, size=EACH)
        row = generator.integers(above.shape[1], size=EACH)
        found.append(np.stack([above[token, row], above[token + 1, row]]))
    before, after = np.concatenate(found, axis=1)
    return before, after


def beside_gaussian(sums: PartialSums, seen: tuple[np.ndarray, np.ndarray]) -> dict[str, object]:
    """Compare the measured sums, sums drawn from their summary, and the Gaussian model: spread and bits that change."""
    widths = 2.0**sums.weight_bits / 8, 2.0**sums.activation_bits / 8
    values, chance = gaussian_partial_sums(ROWS, *widths, 24)
    generator = np.random.default_rng(1)
    drawn = {
        "observed": seen,
        "drawn": draw_partial_sums(sums, 20000, 24, 0),
        "gaussian": tuple(generator.choice(values, (2, 20000), p=chance)),
    }
    return {
        name: {
            "deviation": round(float(np.std(before)), 1),
            "median_magnitude": round(float(np.median(np.abs(before)))),
            "same_sign": round(float(((before < 0) == (after < 0)).mean()), 3),
            "bits_that_change_of_24": round(float(np.bitwise_count((before ^ after) & 0xFFFFFF).mean()), 2),
        }
        for name, (before, after) in drawn.items()
    }


def main() -> None:
    """Measure, write, and say how it differs from the model."""
    asked = [Path(word) for word in sys.argv[1:4]]
    folder, text, out = asked or (PACKAGE / "demo" / "model", PACKAGE / "demo" / "calibration.txt", DEMO_FILE)
    checkpoint = open_checkpoint(folder)
    layers = [layer for layer in checkpoint.layers if layer.name != "lm_head"]
    tokens = tokenize(folder, load_text(text))[: WINDOW * WINDOWS]
    windows = torch.from_numpy(tokens[: tokens.size // WINDOW * WINDOW].reshape(-1, WINDOW))
    inputs = inputs_of(load_model(folder), [layer.name for layer in layers], windows)
    weights = {layer.name: read_weight(checkpoint, layer) for layer in layers}
    size = sum(weight.size for weight in weights.values())
    found: list[PartialSums] = []
    for bits in (8, 4):
        generator = np.random.default_rng(0)
        pairs = [
            pairs_of(codes_of(weight, bits), inputs[name], round(COLUMNS * weight.size / size), generator)
            for name, weight in weights.items()
        ]
        before, after = (np.concatenate(part) for part in zip(*pairs, strict=True))
        model = f"{folder.parent.name}/{folder.name} (weights {content_hash(checkpoint)[:16]})"
        source = (
            f"{before.size:,} pairs at one token and the next, in {len(layers)} linear layers of {model} over "
            f"{windows.numel():,} tokens of {text.name}; weights {bits} bits per channel, activations 8 per token, "
            f"a row of {ROWS} drawn evenly"
        )
        found.append(summarize_partial_sums(before, after, weight_bits=bits, activation_bits=8, source=source))
        print(
            json.dumps({"weight_bits": bits, "pairs": int(before.size), **beside_gaussian(found[-1], (before, after))})
        )
    write_partial_sums(found, out)
    print(json.dumps({"written": out.name, "bytes": out.stat().st_size}))


if __name__ == "__main__":
    main()
