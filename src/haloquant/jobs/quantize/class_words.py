"""The words of the classes, as a recipe asks for them: by the loss that a class may have, or by clocks."""

from collections.abc import Callable

from haloquant.dvfs.classes import Classes, choose_classes, classes_at_clocks
from haloquant.jobs.quantize.request import Request
from haloquant.quant.codebook import WeightSample

CORNER = 0  # of the profile


def choose_words(request: Request, sample: WeightSample, progress: Callable[[int, int], None] | None = None) -> Classes:
    """Return the classes for a sample of the model's weights.

    Args:
        request: The MAC and the recipe.
        sample: Scale groups of the model.
        progress: Called with the number of classes done and the number of all.

    Raises:
        InfeasibleError: No weight value meets one of the clocks.
        InputError: The clocks are not in descending order, or every value meets one of them.
    """
    quantize, hardware, profile = request.recipe.quantize, request.recipe.hardware, request.profile
    sizes, weight = quantize.class_sizes(), quantize.energy_weight
    if hardware.clocks_ghz:
        clocked = tuple(
            (name, words, ghz * 1e9) for (name, words, _), ghz in zip(sizes, hardware.clocks_ghz, strict=True)
        )
        return classes_at_clocks(profile, CORNER, sample, clocked, hardware.margin, weight)
    return choose_classes(profile, CORNER, sample, sizes, hardware.margin, progress, weight)
