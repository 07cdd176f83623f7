"""How well a model predicts a text with quantized weights: perplexity, and the error of a difference of two."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from haloquant.recipe import Quantize, Recipe
from haloquant.records import LayerStatistics

if TYPE_CHECKING:
    from haloquant.lm.evaluation.divergence import Predictions
    from haloquant.lm.evaluation.rounded_activations import TokenCounts


@dataclass(frozen=True)
class Protocol:
    """How a model is evaluated.

    Attributes:
        weights_alone: Whether to evaluate with rounded weights alone, too, where activations are rounded. It takes half
            of the time.
        window: Tokens of a window; None is the model's context, at most 2048.
        divergence: Whether to measure how far the predictions with rounded weights alone are from full precision.
    """

    weights_alone: bool = True
    window: int | None = None
    divergence: bool = False


STANDARD = Protocol()


@dataclass(frozen=True)
class Accuracy:
    """Perplexity with quantized weights, and with rounded activations too.

    `perplexity_a8` is None if activations were not rounded. `window_nats` is the mean loss of each full window with
    quantized weights, in nats; two methods are compared by it. Where the model was not evaluated with rounded weights
    alone, `perplexity` is `perplexity_a8`, and `window_nats` is with rounded activations. With sparse inputs,
    `perplexity_a8` is with them too, and `input_density` is the share of the multiply-accumulates of the linear layers
    that the tokens kept, and `layer_density` that of the inputs of each layer; else it is None. `input_levels` is the
    sparsity that each layer was given. `window_divergence` is the divergence from full precision of each window, in
    nats (`lm.evaluation.divergence`), if it was measured. `low_shares` is the share of the tokens of each layer that
    had low bits, if activations are mixed.
    """

    perplexity: float
    perplexity_a8: float | None
    tokens: int
    description: str
    window_nats: tuple[float, ...] = ()
    input_density: float | None = None
    layer_density: dict[str, float] = field(default_factory=dict[str, float])
    input_levels: dict[str, float] = field(default_factory=dict[str, float])
    window_divergence: tuple[float, ...] = ()
    low_shares: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def final_perplexity(self) -> float:
        """The perplexity with rounded activations, or with quantized weights only if activations were not rounded."""
        return self.perplexity if self.perplexity_a8 is None else self.perplexity_a8


def measure_accuracy(
    model: Any,
    weights: Mapping[str, np.ndarray],
    tokens: np.ndarray,
    recipe: Recipe,
    progress: Callable[[int, int], None],
    input_scale: Mapping[str, np.ndarray] | None = None,
    statistics: Mapping[str, LayerStatistics] | None = None,
    originals: Mapping[str, np.ndarray] | None = None,
    protocol: Protocol = STANDARD,
    calibration: np.ndarray | None = None,
    full: "Predictions | None" = None,
) -> Accuracy:
    """Return the perplexity of a model that computes with these weights, and with rounded activations too.

    Args:
        model: The full-precision model.
        weights: Weights [out, in] by layer; empty for the model's own, whose activations are not rounded.
        tokens: The text.
        recipe: Says how many tokens are used and how activations are rounded.
        progress: Called with windows done and windows in all.
        input_scale: Scales of an equivalent transform by layer: the activations x / s are rounded. The
            weights are for x itself.
        statistics: For a recipe with one activation scale per layer, the largest inputs that calibration saw of each
            layer before any transform.
        originals: The model's own weights by layer, to put them back; None keeps a copy of them in memory meanwhile.
        protocol: How it is evaluated.
        calibration: Windows of tokens [windows, tokens] that give the thresholds of sparse inputs or of mixed
            activations, if the recipe asks for them; None keeps all inputs.
        full: What the model predicts in full precision, to measure the divergence from it; None does not measure it.

    Raises:
        InputError: The recipe asks for one scale per layer, and a layer has no calibrated maximum; or it asks for mixed
            activations, and the model's attentions cannot be seen.
    """
    # Imported here, because quantizing without calibration does not need torch.
    from haloquant.jobs.input_sparsity import loaded_weights, mac_density
    from haloquant.lm.evaluation.divergence import window_divergences
    from haloquant.lm.evaluation.perplexity import default_window, perplexity
    from haloquant.lm.evaluation.sparse_inputs import sparse_inputs
    from haloquant.lm.input_sparsity import find_input_masks, sample_windows
    from haloquant.lm.swap_weights import with_weights

    window = protocol.window or default_window(model)
    limit = recipe.text.evaluation_tokens
    windows = max(1, limit // window) if limit else None
    rounding = recipe.quantize.activations != "none" and bool(weights)
    sparse = bool(recipe.quantize.input_sparsity and weights) and calibration is not None
    with with_weights(model, weights, originals), ExitStack() as stack:
        plain, left, by_class = None, None, None
        apart = window_divergences(model, full) if full is not None and weights else ()
        if protocol.weights_alone or not (rounding or sparse):
            plain = perplexity(model, tokens, window, max_windows=windows, progress=progress)
        if plain is not None and not (rounding or sparse):
            seen = plain.tokens_counted, plain.describe(), plain.window_nats
            return Accuracy(plain.value, None, *seen, window_divergence=apart)
        if sparse and calibration is not None:  # a layer first leaves inputs out, and then rounds the others
            sample = sample_windows(calibration.reshape(-1), calibration.shape[1])
            share, own = recipe.quantize.input_sparsity, loaded_weights(model, list(weights))
            found = find_input_masks(model, own, sample, share, recipe.quantize.input_allocation)
            left = found, stack.enter_context(sparse_inputs(model, found.masks))
        if rounding:
            rounders = _rounded_inputs(model, list(weights), recipe.quantize, input_scale, statistics, calibration)
            by_class = stack.enter_context(rounders)
        rounded = perplexity(model, tokens, window, max_windows=windows, progress=progress)
    plain = rounded if plain is None else plain
    seen = plain.tokens_counted, plain.describe(), plain.window_nats
    if left is None:
        shares = {} if by_class is None else {layer: by_class.share(layer) for layer in weights}
        return Accuracy(plain.value, rounded.value, *seen, window_divergence=apart, low_shares=shares)
    found, counts = left
    by_layer = {layer: counts.density(layer) for layer in found.macs}
    density = mac_density(counts, found.macs)
    return Accuracy(plain.value, rounded.value, *seen, density, by_layer, dict(found.levels), apart)


def _rounded_inputs(
    model: Any,
    layers: list[str],
    quantize: Quantize,
    input_scale: Mapping[str, np.ndarray] | None,
    statistics: Mapping[str, LayerStatistics] | None,
    calibration: np.ndarray | None,
) -> "AbstractContextManager[TokenCounts | None]":
    """Return the block within which a model rounds the inputs of layers as a recipe asks; arguments as above."""
    from haloquant.lm.attention.token_importance import TokenClasses, sample_windows
    from haloquant.lm.evaluation import rounded_activations as rounding

    bits = quantize.activation_bits
    if quantize.activations == "tensor":
        known = {layer: (statistics or {}).get(layer, LayerStatistics(layer, 0)) for layer in layers}
        return rounding.activations_per_tensor(model, known, bits, input_scale=input_scale)
    if quantize.activations == "token":
        return rounding.activations_per_token(model, layers, bits, input_scale=input_scale)
    if calibration is None:
        raise ValueError("mixed activations must have calibration windows")
    found = rounding.find_mixed_activations(
        model, layers, sample_windows(calibration), bits, quantize.low_bits, quantize.low_share, "lowest", input_scale
    )
    return rounding.activations_by_class(model, layers, TokenClasses(found), input_scale)


def rise_error(accuracy: Accuracy, reference: Accuracy) -> float | None:
    """Return the standard error of the rise of perplexity over a reference, or None if it cannot be computed.

    It is computed from the differences window by window (delta method): reference perplexity x standard deviation of
    the differences / sqrt(windows). A window that is hard for one method is hard for the other too, so the error of the
    difference is much smaller than that of either perplexity. It needs two windows at least, and the same windows for
    both.
    """
    count = len(reference.window_nats)
    if count < 2 or len(accuracy.window_nats) != count:
        return None
    gaps = np.subtract(accuracy.window_nats, reference.window_nats)
    return reference.perplexity * float(gaps.std(ddof=1)) / float(np.sqrt(count))
