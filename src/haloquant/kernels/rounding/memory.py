"""Device memory of one layer while it is rounded, and how many rows of it fit. Only a GPU's own memory needs torch.

A layer keeps two square matrices of its inputs on the device, the Hessian and its factor, whatever its rows. Rows are
independent, so a layer that does not fit is rounded in bands of rows. The length of a band depends on the shape and on
the memory that the device has, not on what is free at the moment: a device gives the same bytes twice.
"""

from haloquant.errors import InfeasibleError
from haloquant.units import engineering

SQUARES = 2  # matrices of inputs x inputs in float32: Hessian and factor
ROW_WEIGHT_B = 26.0
"""Bytes for each weight of a band: weight, errors, rounded values and a copy of one of them in float32 (16), codes,
sparse mask and their copies in the order of the factor (4), and a part of the products."""
WORK_B = 0.6e9  # temporary tensors of bounded size: elementwise steps, products of 512 columns, the library's space
CONTEXT_B = 0.5e9  # what CUDA, its libraries and kernels take in each process
USABLE = 0.9  # share of a device's memory that is planned with


def layer_bytes(rows: int, inputs: int, calibrated: bool = True) -> float:
    """Return the device memory in bytes of rounding this many rows of a layer at once."""
    squares = SQUARES * 4.0 * float(inputs) ** 2 if calibrated else 0.0
    return squares + ROW_WEIGHT_B * rows * inputs + WORK_B + CONTEXT_B


def device_memory_b(device: str) -> float | None:
    """Return the memory of a GPU in bytes; None for the CPU.

    Args:
        device: torch's name, such as "cuda:0".
    """
    if not device.startswith("cuda"):
        return None
    import torch  # a forecast without a GPU needs no torch

    return float(torch.cuda.get_device_properties(device).total_memory)


def rows_that_fit(
    rows: int, inputs: int, memory_b: float, layer: str, calibrated: bool = True, device: str = "the device"
) -> int:
    """Return how many rows of a layer are rounded at once on a device.

    Bands of a layer are about equally long.

    Args:
        rows: rows of the layer.
        inputs: inputs of the layer.
        memory_b: memory of the device in bytes.
        layer: name of the layer in the error.
        calibrated: whether the layer has a Hessian.
        device: name of the device in the error.

    Raises:
        InfeasibleError: Not even one row fits.
    """
    room = USABLE * memory_b - layer_bytes(0, inputs, calibrated)
    most = int(room / (ROW_WEIGHT_B * inputs))
    if most < 1:
        needed = layer_bytes(1, inputs, calibrated) / USABLE
        widest = widest_that_fits(memory_b)
        raise InfeasibleError(
            f"{layer} with {inputs} inputs must have at least {engineering(needed, 'B')} of device memory, and "
            f"{device} has {engineering(memory_b, 'B')}, enough for layers of {widest} inputs; quantize on the CPU "
            "(--device cpu), on a larger device, or leave the layer out (--exclude)"
        )
    bands = -(-rows // most)
    return -(-rows // bands)


def widest_that_fits(memory_b: float) -> int:
    """Return the most inputs of a calibrated layer of which one row fits; 0 if none does."""
    room = USABLE * memory_b - WORK_B - CONTEXT_B
    a, b = SQUARES * 4.0, ROW_WEIGHT_B
    return max(0, int((-b + (b * b + 4 * a * max(room, 0.0)) ** 0.5) / (2 * a)))
