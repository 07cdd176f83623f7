"""What the simulations of a model on a machine share: checks of their arguments, the machine, and the model on it."""

from pathlib import Path

from haloquant.accel.elements import is_floating
from haloquant.accel.target import Target
from haloquant.accel.workload.model_shapes import MODELS
from haloquant.accel.workload.prefill_decode import MOST_SEQUENCES, MOST_TOKENS, Workload, decode, prefill
from haloquant.api.arguments import check_bits, check_count, check_range, path_text
from haloquant.dvfs.operating_points import check_integer_weights
from haloquant.errors import InputError
from haloquant.jobs.inputs import is_packed
from haloquant.jobs.machines import systems
from haloquant.jobs.machines.model_inputs import read_shape
from haloquant.jobs.machines.systems import QuantizedModel
from haloquant.recipe import Quantize
from haloquant.records import InputBits
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_systolic

MOST_PERIOD_S, MOST_IDLE_W = 86_400.0, 1e6  # a day for one token, and a megawatt


def open_on(
    model: str | Path, target: str | Path, profile: str | Path, fast_share: float
) -> tuple[Target, QuantizedModel]:
    """Return the machine, and a packed model or a shape ready to run on it.

    Raises:
        InputError: One of them does not exist, or the packed model was made for another profile.
    """
    what = path_text("model", model)
    machine, mac = read_systolic(path_text("target", target)), find_profile(path_text("profile", profile))
    check_integer_weights(mac)
    if is_floating(mac):
        raise InputError(
            f"the profile must be that of an integer MAC, and {mac.name} is a floating-point element; name it with "
            "--against"
        )
    if what.lower() in MODELS:
        return machine, systems.load_shape(what, mac, fast_share)
    folder = Path(what).expanduser()
    if folder.is_dir() and is_packed(folder):
        return machine, systems.load_packed(folder, mac)
    return machine, systems.model_of_shape(read_shape(what), mac, fast_share)


def passes_of(
    loaded: QuantizedModel, prefill_tokens: int, context_tokens: int, batch: int
) -> tuple[Workload, Workload]:
    """Return the prefill and the decode step."""
    return prefill(loaded.shape, prefill_tokens), decode(loaded.shape, context_tokens, batch)


def active_notes(loaded: QuantizedModel) -> list[str]:
    """Return a sentence on the weights that one token passes, for a model with experts that do not all run."""
    shape = loaded.shape
    if shape.active_weights == shape.linear_weights:
        return []
    active, every = (f"{count / 1e9:.3g}" for count in (shape.active_weights, shape.linear_weights))
    return [f"each token passes {active} of the {every} billion weights of {loaded.name}; the other experts do not run"]


def density_notes(loaded: QuantizedModel, machine: Target) -> list[str]:
    """Return a sentence on inputs that generated tokens leave out, in a packed model that does so, or as asked for."""
    if loaded.density is None and not loaded.densities:
        return []
    asked = loaded.density
    share = f"{asked:.0%} of their inputs" if asked is not None else "the inputs that the model's thresholds keep"
    gains = {
        "none": f"{machine.name} gains switching energy from it, and neither cycles nor bytes",
        "gather": f"{machine.name} loads and reads only their rows, one token at a time, from codes by column",
    }[machine.array.sparse_rows]
    return [f"in decode the quantized layers of all integer systems multiply {share}: {gains}"]


def input_bits_notes(loaded: QuantizedModel) -> list[str]:
    """Return a sentence on the bits to which inputs are rounded, if they are asked for, and what they save."""
    bits, mac = loaded.input_bits, loaded.classes.profile
    if bits is None and mac.activation_bits != 8:
        return [
            f"{mac.name} multiplies inputs of {mac.activation_bits} bits, and all integer systems have such inputs: "
            "activation_bits says how wide they are in the model"
        ]
    if bits is None:
        return []
    low = f", {bits.low_bits} in {bits.low_share:.0%} of the tokens" if bits.low_share else ""
    passes = bits.passes(mac.activation_bits)
    gains = (
        f"they save bytes of inputs, and neither cycles nor switching energy of {mac.name}, which multiplies "
        f"{mac.activation_bits} bits"
        if passes == 1
        else f"{mac.name} multiplies {mac.activation_bits} bits, so its arrays run {passes:.3g} times over a layer"
    )
    return [f"the inputs of the quantized layers have {bits.bits} bits{low} in all integer systems: {gains}"]


def asked_input_bits(activation_bits: int | None, low_share: float, low_bits: int) -> InputBits | None:
    """Return the bits of inputs that a caller asks for; None where they are as wide as the MAC's.

    Raises:
        InputError: A number is out of range, or low bits have no share of the tokens or no bits to compare with.
    """
    check_range("low_share", low_share, 0.0, 1.0)
    low = check_bits(low_bits, "low_bits")
    if not low_share and low != Quantize().low_bits:
        raise InputError("low_bits must come with low_share, the share of the tokens that have them")
    if activation_bits is None:
        if low_share:
            raise InputError("low_share must come with activation_bits, the bits of the other tokens")
        return None
    bits = check_bits(activation_bits)
    if low_share and low >= bits:
        raise InputError(f"low_bits must be below activation_bits, {bits}, not {low}")
    return InputBits(bits, low, float(low_share))


def floating_notes(loaded: QuantizedModel, workload: Workload) -> list[str]:
    """Return a sentence on the layers that a packed model leaves in floating point, if there are any."""
    left = loaded.left_floating(workload)
    if not left:
        return []
    named = f"{left[0]} stays" if len(left) == 1 else f"{left[0]} and {len(left) - 1} other layers stay"
    return [f"{named} in 16-bit floating point in {loaded.name}, and therefore in all compared systems"]


def check_phases(prefill_tokens: object, context_tokens: object, batch: object, fast_share: object) -> None:
    """Refuse counts that are not whole numbers in their range, and a share that is not 0 to 1.

    Raises:
        InputError: One of them is not.
    """
    check_count("prefill_tokens", prefill_tokens, 1, MOST_TOKENS)
    check_count("context_tokens", context_tokens, 1, MOST_TOKENS)
    check_count("batch", batch, 1, MOST_SEQUENCES)
    check_range("the share of fast tiles", fast_share, 0.0, 1.0)


def check_deadline(period_s: object, idle_w: object) -> None:
    """Refuse a time for one step of more than a day, an idle power of more than a megawatt, and what is negative.

    Raises:
        InputError: One of them is out of its range.
    """
    check_range("period_s", period_s, 0.0, MOST_PERIOD_S)
    check_range("idle_w", idle_w, 0.0, MOST_IDLE_W)
