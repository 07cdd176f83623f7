"""Search for an element, a set of words and a tile size together, at one area."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from haloquant.accel.workload.model_shapes import MODELS
from haloquant.api.arguments import check_count, check_range, path_text, path_texts
from haloquant.api.machines.inputs import check_phases
from haloquant.api.progress import Progress, reporting
from haloquant.errors import InputError
from haloquant.jobs.codesign.array_cost import BUSES
from haloquant.jobs.codesign.job import search_designs, with_passes
from haloquant.jobs.codesign.library_elements import library_elements
from haloquant.jobs.codesign.result_files import write_designs
from haloquant.jobs.codesign.search_result import Codesign, CodesignSettings
from haloquant.jobs.recipe_checks import DRAWING_PACKAGES, MODEL_PACKAGES, require_packages
from haloquant.recipe import MOST_TILE, Hardware, Model, Quantize, Recipe, Text
from haloquant.report.charts.codesign import DesignRow


@dataclass(frozen=True)
class CodesignResult:
    """The front of a search of designs, and what it is compared with."""

    rows: tuple[DesignRow, ...]
    """The designs of each phase that no other evaluated one beats in divergence, tokens/s/mm2 and J/token."""
    reference: tuple[DesignRow, ...]
    """GPTQ on 4-bit integers on the INT4 design with the least energy x time, in each phase."""
    search: Codesign
    """All that was predicted, simulated and evaluated, and what does not fit the area."""

    def verdict(self, phase: str) -> str:
        """Return a sentence: what the best design gains over GPTQ on INT4 at the same area and accuracy."""
        gain, cost = self.search.gain(phase)
        if not self.search.reference_costs:
            return f"{phase}: no design for GPTQ on INT4 fits the area"
        if cost is None:
            return f"{phase}: no design on the front is as accurate as GPTQ on INT4"
        return (
            f"{phase}: of the designs that are not less accurate than GPTQ on the best INT4 design, {cost.design.name} "
            f"takes the least energy x time at the same area: {1 / gain:.2f} of INT4's"
        )


def codesign(
    model: str | Path = "demo",
    out: str | Path = "codesigned",
    *,
    library: str | Path = "asap7",
    area_mm2: float = 1.0,
    max_loss: float = 0.05,
    target: str | Path = "edge_lpddr5x",
    elements: str | Path | Sequence[str | Path] = (),
    shape: str = "model",
    tiles: Sequence[int] = (128, 256, 512),
    buses: Sequence[int] = BUSES,
    words: Sequence[Sequence[int]] = (),
    evaluate: int = 8,
    supplies: Sequence[float] = (),
    prefill_tokens: int = 2048,
    context_tokens: int = 2048,
    batch: int = 1,
    calibration: str | Path = "demo",
    evaluation: str | Path = "demo",
    progress: Progress = True,
) -> CodesignResult:
    """Find the Pareto front of divergence, tokens/s/mm2 and J/token over elements, sets of words and tile sizes.

    The loss of all sets of words is predicted, and the cost of their designs is simulated, each at several supplies.
    Those on the predicted front are quantized and evaluated, by their loss and by the divergence of their predictions
    from full precision. All weights are in tiles; there is no sparse part.

    Args:
        model: Folder in Hugging Face format, or "demo".
        out: Output folder. It receives codesign.json, codesign.html, codesign.svg, and in `designs` a recipe and a
            profile for every design, which `run` takes.
        library: The beginning of a cell library's name, such as "asap7", or a Liberty file.
        area_mm2: Area of all arrays in square millimetres.
        max_loss: Largest rise of the model's loss over full precision, in nats, with 8-bit activations.
        target: Machine whose memory the arrays have: a shipped target, or a TOML file.
        elements: Further elements: profiles that `characterize` wrote.
        shape: What is simulated: "model" for the model's own sizes, or a named shape such as "llama2-7b".
        tiles: Tile sizes to try: rows of the arrays.
        buses: Numbers of columns that share one register of an activation.
        words: Sets of words that are evaluated in any case, at most 16 words each, with 0.
        evaluate: How many sets of words, each at one tile size, are evaluated at most, unless more are given.
        supplies: Supplies to try, as shares of that at which the elements were characterized. By default they are three
            from the lowest that is known, or assumed, of the library to 1. A profile with several corners has its own.
        prefill_tokens: Tokens of the prefill.
        context_tokens: Tokens in the cache at the decode step.
        batch: Sequences that are decoded together.
        calibration: Text for calibration; "demo" is the shipped one.
        evaluation: Text for evaluation; "demo" is the shipped one.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        The front and the reference, in both phases.

    Raises:
        InputError: An argument is not allowed, no element of the library is known or fits the area, or no element holds
            the words.
        LibertyError: The library is a file without a flip-flop. (An InputError.)
        InfeasibleError: No design has a loss of at most `max_loss`.
        MissingExtraError: A package that the search needs is not installed.

    Example:
        ```python
        import haloquant

        found = haloquant.codesign("demo", area_mm2=1.0, max_loss=0.05, shape="llama2-7b")
        print(found.verdict("prefill"))
        ```
    """
    require_packages((*MODEL_PACKAGES, *DRAWING_PACKAGES), "a search of designs", "demo")
    check_range("area_mm2", area_mm2, 1e-9, 1e6)
    check_range("max_loss", max_loss, 0.0, 100.0)
    check_count("evaluate", evaluate, 1)
    check_phases(prefill_tokens, context_tokens, batch, 0.0)
    for name, sizes, least in (("tiles", tiles, 16), ("buses", buses, 1)):
        if not isinstance(sizes, Sequence) or not sizes:
            raise InputError(f"{name} must be a sequence of at least one whole number, not {sizes!r:.80}")
        for size in sizes:
            check_count(f"each of {name}", size, least, MOST_TILE)
            if name == "tiles" and size % 16:
                raise InputError(f"a tile size must be a multiple of 16, which all elements divide, not {size}")
    for share in supplies:
        check_range("each of supplies", share, 0.01, 1.0)
    if shape != "model" and shape.lower() not in MODELS:
        raise InputError(f"shape must be model or one of {', '.join(MODELS)}, not {shape!r:.80}")
    sets = tuple(_checked_words(each) for each in words)
    profiles = library_elements(path_text("library", library), path_texts("elements", elements) if elements else ())
    recipe = Recipe(
        model=Model(path_text("model", model)),
        text=Text(path_text("calibration", calibration), evaluation=path_text("evaluation", evaluation)),
        hardware=Hardware(targets=(path_text("target", target),), gpus=()),
        quantize=Quantize(goals=("acc-opt",), rivals=(), sweep=(), sparse_budget=0.0),
    )
    recipe = with_passes(recipe, prefill_tokens, context_tokens, batch, shape if shape == "model" else shape.lower())
    settings = CodesignSettings(
        area_mm2 * 1e-6,
        max_loss,
        tuple(dict.fromkeys(tiles)),
        tuple(dict.fromkeys(buses)),
        sets,
        evaluate,
        tuple(supplies),
    )
    folder = Path(path_text("out", out))
    with reporting(progress) as report:
        found = search_designs(recipe, profiles, settings, folder, report)
    from haloquant.report.charts.codesign import draw_designs  # needs the drawing libraries

    rows, reference = write_designs(found, recipe, folder)
    draw_designs(rows, reference, folder, found.notes)
    return CodesignResult(tuple(rows), tuple(reference), found)


def _checked_words(words: Sequence[int]) -> tuple[int, ...]:
    found = tuple(sorted(set(words)))
    if not 2 <= len(found) <= 16 or 0 not in found:
        shown = ", ".join(str(word) for word in found[:20])
        raise InputError(f"a set of words must hold 0 and have 2 to 16 words, not {shown or 'none'}")
    return found
