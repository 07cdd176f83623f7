"""The files of a search: the front as JSON, and a recipe with a profile for every design on it."""

from pathlib import Path

import msgspec

from haloquant.jobs.codesign.evaluation import Evaluated, words_profile, words_recipe
from haloquant.jobs.codesign.front import Design, DesignCost
from haloquant.jobs.codesign.search_result import Codesign
from haloquant.recipe import Recipe
from haloquant.report.charts.codesign import DesignRow
from haloquant.store.atomic_files import write_bytes
from haloquant.store.profiles import write_profile


def write_designs(found: Codesign, recipe: Recipe, out: Path) -> tuple[list[DesignRow], list[DesignRow]]:
    """Write `designs/N.toml`, `designs/N.profile.json` and `codesign.json`, and return the rows and the reference's."""
    numbers: dict[tuple[str, str], int] = {}
    rows: list[DesignRow] = []
    for cost in found.front:
        design = cost.design
        number = numbers.setdefault((design.name, design.element.profile.corners[0].name), len(numbers) + 1)
        profile_file, recipe_file = (out / "designs" / f"{number:02}.{end}" for end in ("profile.json", "toml"))
        if not recipe_file.is_file() or number == len(numbers):
            held = found.supplies.lowered(design.element.profile, design.supply)
            write_profile(words_profile(held, design.words, f"design-{number:02}"), profile_file)
            own = words_recipe(recipe, design.words, design.tile, str(profile_file.resolve()))
            write_bytes(recipe_file, msgspec.toml.encode(own))
        rows.append(_row(found, cost, found.loss_of(design), str(recipe_file), str(profile_file)))
    reference = [_row(found, cost, found.reference(cost.phase)) for cost in found.reference_costs]
    document = {
        "area_mm2": found.settings.area_m2 * 1e6,
        "max_loss_nats": found.settings.max_loss,
        "full_precision_perplexity": found.full_perplexity,
        "designs_simulated": found.designs,
        "supplies": {"shares": found.supplies.shares, "delay": found.supplies.law.source},
        "evaluated_over_predicted_loss": found.ratio,
        "front": rows,
        "reference": reference,
        "left_out": [
            {"element": each.element, "tile": each.tile, "least_area_mm2": each.least_area_m2 * 1e6}
            for each in found.left_out
        ],
        "words_left_out": found.words_left_out,
        "evaluated": [
            {"words": list(words.words), "name": words.name, "tile": tile, "loss_nats": each.nats,
             "divergence_nats": each.divergence_nats, "predicted_nats": found.predicted[words, tile].nats}
            for (words, tile), each in found.losses.items()
        ],
    }  # fmt: skip
    write_bytes(out / "codesign.json", msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return rows, reference


def _row(found: Codesign, cost: DesignCost, loss: Evaluated, recipe: str = "", profile: str = "") -> DesignRow:
    design: Design = cost.design
    corner = design.element.profile.corners[0]
    base = found.reference_cost(cost.phase)
    return DesignRow(
        cost.phase, list(design.words.words), design.words.name, design.element.profile.name, corner.name,
        design.supply_v, design.supply, design.tile, design.bus, cost.columns, cost.array_area_m2 * 1e6, loss.nats,
        loss.divergence_nats,
        loss.accuracy.final_perplexity, cost.tokens_per_s_mm2, cost.token_j, cost.time_s, cost.energy_j,
        base.energy_time / cost.energy_time if base else None, not loss.worse_than(found.reference(cost.phase)),
        recipe, profile,
    )  # fmt: skip
