"""The settings of a quantization: all inputs of the result except the checkpoint, and the hash of them."""

from dataclasses import dataclass

import numpy as np

from haloquant.jobs.quantize.layer_costs import cost_source
from haloquant.jobs.quantize.layer_rounding import ON_CPU, RoundingPlace
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.recipe import Goal, Recipe
from haloquant.records import MacProfile
from haloquant.store.atomic_files import content_key, sha256_bytes
from haloquant.store.profiles import profile_sha256


@dataclass(frozen=True)
class Request:
    """One quantization.

    `goal` is None if the caller asks for the models of several goals. `calibration` holds windows of tokens
    [windows, tokens]; None quantizes without calibration data. `source` says in words where the sensitivity comes
    from, for the reader of the result. `device` is where calibration computes: "cpu", or a GPU such as "cuda:0".
    `place` is where and with which engine layers are rounded; a worker that has a GPU of its own takes that one. `card`
    is the kind of this machine's GPUs that are used, empty if none is.
    """

    profile: MacProfile
    goal: Goal | None
    recipe: Recipe
    calibration: np.ndarray | None
    source: str
    device: str = "cpu"
    place: RoundingPlace = ON_CPU
    card: str = ""

    def kind(self, device: str) -> str:
        """Return what a result depends on of a device: `cpu`, the kind of card, or `cuda` for a cluster's GPUs."""
        return self.card if self.card and device.startswith("cuda:") else device.partition(":")[0]


def passes_key(model_sha256: str, checkpoint: Checkpoint, request: Request) -> str:
    """Return the hash of everything that the losses of the tiles and the layers depend on, but the classes of tiles."""
    windows = request.calibration
    tokens = None if windows is None else [list(windows.shape), sha256_bytes(windows.astype("<i8").tobytes())]
    quantize, hardware = request.recipe.quantize, request.recipe.hardware
    settings = [
        profile_sha256(request.profile),
        tokens,
        quantize.class_sizes(),
        hardware.clocks_ghz,
        quantize.energy_weight,
        [quantize.cost, cost_content(request.recipe)],
        quantize.budget,
        quantize.method,
        quantize.kept_share,
        quantize.sparse_budget,
        quantize.prune_to_zero,
        quantize.compensate,
        quantize.refine,
        quantize.value_hessian,
        quantize.calibration_dtype,
        quantize.transform,
        hardware.tile,
        hardware.margin,
        request.recipe.seed,
        request.kind(request.device),
    ]
    if request.place != ON_CPU:
        settings.append([request.kind(request.place.device), request.place.engine])
    return content_key(model_sha256, settings, [layer.name for layer in checkpoint.layers])


def cost_content(recipe: Recipe) -> list[object]:
    """Return what the costs of layers depend on beside the model and the classes; nothing for the MAC's own costs.

    Raises:
        InputError: The machine or the measured table is missing or malformed.
    """
    source, workload = cost_source(recipe), recipe.workload
    return [] if source is None else [source, workload.decode_batch, workload.decode_context]


def made_by(request: Request, goal: Goal) -> dict[str, str]:
    """Return the model configuration's entries that say how the model was made."""
    transform = request.recipe.quantize.transform
    entries = {"goal": goal, "source": request.source}
    if share := request.recipe.quantize.input_sparsity:
        entries["input sparsity"] = f"{share:g}, {request.recipe.quantize.input_allocation}"
    if request.recipe.quantize.activations == "mixed":
        quantize = request.recipe.quantize
        entries["tokens in low bits"] = f"{quantize.low_share:g}, {quantize.low_bits} of {quantize.activation_bits}"
    if request.card:
        entries["card"] = request.card
    if request.recipe.quantize.method != "haloquant":
        entries["method"] = request.recipe.quantize.method
    return entries if transform == "none" else {**entries, "transform": transform}
