"""Slow, obvious twins of the quantizer's kernels, and small layers to try them on."""

import numpy as np

from haloquant.quant.layer import quantize_weight
from haloquant.quant.sparse import split
from haloquant.records import Codebook, LayerStatistics, OperatingPoint, TileGrid, TileMap

POINT = OperatingPoint(1.0, 1e9)


def book(values, name="book") -> Codebook:
    return Codebook(name, np.array(values, np.int16), POINT, 0.0)


NINE = book([-128, -80, -48, -16, 0, 16, 40, 64, 100], "nine")
SIXTEEN = book([-120, -90, -70, -54, -40, -28, -18, -8, 0, 10, 22, 34, 48, 64, 84, 112], "sixteen")


def tile_map(shape, tile_out, tile_in, classes=0, layer="layer") -> TileMap:
    grid = TileGrid(shape[0], shape[1], tile_out, tile_in)
    return TileMap(layer, grid, np.broadcast_to(np.asarray(classes, np.uint8), (grid.down, grid.across)).copy())


def random_weight(seed, out_features, in_features, heavy=5.0):
    return (np.random.default_rng(seed).standard_t(heavy, (out_features, in_features)) * 0.02).astype(np.float32)


def random_statistics(seed, out_features, in_features, tokens=512, layer="layer") -> LayerStatistics:
    rng = np.random.default_rng(seed)
    mixing = np.eye(in_features) + rng.standard_normal((in_features, in_features)) * (0.5 / np.sqrt(in_features))
    inputs = rng.standard_normal((tokens, in_features)) @ mixing * np.exp(0.5 * rng.standard_normal(in_features))
    gradients = rng.standard_normal((tokens, out_features)) * np.exp(0.5 * rng.standard_normal(out_features))
    fisher = (gradients**2).T @ (inputs**2) / tokens
    hessian = 2 / tokens * inputs.T @ inputs
    return LayerStatistics(
        layer, tokens, fisher.astype(np.float32), hessian.astype(np.float32), source="made up for a test"
    )


def quantized_layer(shape=(50, 70), tile=32, classes=0, sparse=False, seed=0):
    """A random weight and the weight in HALO form; classes None draws the class of every tile."""
    weight = random_weight(seed, *shape)
    part = split(weight, random_statistics(seed, *shape))[0] if sparse else None
    if classes is None:
        classes = np.random.default_rng(seed).integers(0, 2, (-(-shape[0] // tile), -(-shape[1] // tile)))
    tiles = tile_map(shape, tile, tile, classes)
    return weight, quantize_weight(weight, tiles=tiles, codebooks=(SIXTEEN, NINE), sparse=part)


def nearest_value(weight, levels):
    """The nearest of `levels` to every weight."""
    return levels[np.argmin(np.abs(weight[..., None] - levels), axis=-1)]


def segment_loss(weight, importance, words, scale):
    """Weighted squared error of one scale group under one scale."""
    wide = np.asarray(weight, np.float64)
    return float(np.sum(importance * (wide - nearest_value(wide, words * float(scale))) ** 2))


def best_scale(weight, importance, words):
    """The exact best scale of one group, any sign: every interval between assignment changes, each with its own
    refit."""
    words = np.asarray(words, np.float64)
    wide, heavy = np.asarray(weight, np.float64), np.asarray(importance, np.float64)
    best = (float(np.sum(heavy * wide**2)), 0.0)
    for sign in (1.0, -1.0):
        middles = sign * (words[1:] + words[:-1]) / 2
        with np.errstate(divide="ignore"):
            edges = (wide[:, None] / middles[None, middles != 0]).ravel()
        edges = np.unique(np.concatenate([[0.0], edges[(edges > 0) & np.isfinite(edges)]]))
        trials = np.concatenate([(edges[1:] + edges[:-1]) / 2, [edges[-1] * 2 + 1e-6]])
        for trial in trials:
            assigned = nearest_value(wide / (sign * trial), words)
            norm = np.sum(heavy * assigned**2)
            if norm > 0:
                fitted = float(np.sum(heavy * assigned * wide) / norm)
                best = min(best, (segment_loss(wide, heavy, words, fitted), fitted))
    return best


def gptq_by_the_paper(weight, hessian, damping, levels, order):
    """GPTQ as published: inverse Hessian, its upper Cholesky factor, column after column; levels per output channel."""
    n = weight.shape[1]
    damped = hessian.astype(np.float64) + damping * np.trace(hessian.astype(np.float64)) / n * np.eye(n)
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    work, made = weight[:, order].astype(np.float64), np.zeros(weight.shape)
    for j in range(n):
        made[:, j] = [nearest_value(np.float64(w), row) for w, row in zip(work[:, j], levels[order[j]], strict=True)]
        work[:, j:] -= np.outer((work[:, j] - made[:, j]) / upper[j, j], upper[j, j:])
    back = np.argsort(order)
    return made[:, back]
