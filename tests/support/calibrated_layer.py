"""A random layer with correlated inputs and the statistics that calibration would find."""

import numpy as np

from haloquant.records import LayerStatistics


def calibrated_layer(out=20, features=48, tokens=150, seed=0):
    """Return a weight [out, features], inputs [tokens, features] and statistics with the inputs' Hessian."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(tokens, features)) @ rng.normal(size=(features, features)) / 5).astype(np.float32)
    weight = (rng.normal(size=(out, features)) * 0.1).astype(np.float32)
    return weight, x, LayerStatistics("l", tokens, hessian=(2 / tokens * x.T @ x).astype(np.float32), source="test")


def output_error(result, weight, x):
    """Return the summed squared error of the layer's output on inputs x."""
    return float((((result.weight - weight) @ x.T) ** 2).sum())


def scaled_inputs_layer(out=24, features=32, tokens=200, seed=0):
    """Return a weight, inputs whose features differ much in size, and their statistics (`measured`)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tokens, features)) * np.exp(rng.normal(size=features) * 1.5)
    weight = (rng.normal(size=(out, features)) * 0.1).astype(np.float32)
    return weight, x.astype(np.float32), measured(x, weight)


def measured(x, weight):
    """Return the statistics of inputs x, with a random Fisher part."""
    gradient = np.random.default_rng(5).normal(size=weight.shape)
    return LayerStatistics(
        layer="l",
        tokens=len(x),
        fisher=(gradient**2).astype(np.float32),
        hessian=(2 / len(x) * x.T @ x).astype(np.float32),
        input_absmean=np.abs(x).mean(0).astype(np.float32),
        input_absmax=np.abs(x).max(0).astype(np.float32),
        source="test",
    )
