"""Whether the GPUs of a quantization have room for its largest parts, before any work."""

from collections.abc import Iterable

from haloquant.jobs.quantize.forecast.device_plan import check_calibration_room, check_rounding_room
from haloquant.jobs.quantize.forecast.model_sizes import sizes_of_checkpoint
from haloquant.kernels.rounding.memory import device_memory_b
from haloquant.lm.checkpoint.reader import Checkpoint


def check_device_room(checkpoint: Checkpoint, rounding: Iterable[str], calibrating: str, window: int | None) -> None:
    """Check that every GPU of this machine holds a row of each layer, and the calibrating one a decoder block.

    The GPUs of a cluster are checked by its workers, layer by layer.

    Args:
        checkpoint: The model.
        rounding: Torch's names of the devices that round layers.
        calibrating: The device that calibrates.
        window: Tokens of a calibration window; None without calibration.

    Raises:
        InfeasibleError: A GPU has too little memory; the message names the GPU, and says what is needed and what would
            fit.
    """
    rooms = {device: _memory_b(device) for device in rounding}
    room = None if window is None else _memory_b(calibrating)
    if room is None and not any(rooms.values()):
        return
    sizes = sizes_of_checkpoint(checkpoint)
    for device, memory_b in rooms.items():
        if memory_b is not None:
            check_rounding_room(sizes, memory_b, device, window is not None)
    if window is not None and room is not None:
        check_calibration_room(sizes, room, calibrating, window)


def _memory_b(device: str) -> float | None:
    """Return the memory of a GPU of this machine; None for another device."""
    return device_memory_b(device) if device.startswith("cuda:") else None
