"""Whether the GPUs of a quantization have room for its largest parts, before any work."""

from haloquant.jobs.quantize.forecast.device_plan import check_room
from haloquant.jobs.quantize.forecast.model_sizes import sizes_of_checkpoint
from haloquant.jobs.quantize.request import Request
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.lm.devices import device_memory_b


def check_device_room(checkpoint: Checkpoint, request: Request) -> None:
    """Check that the GPUs of this machine that a request names hold a block, if it is calibrated, and a row of a layer.

    The GPUs of a cluster are checked by its workers, layer by layer.

    Raises:
        InfeasibleError: A GPU does not; the sentence says what is needed and what would fit.
    """
    windows = request.calibration
    named = {request.place.device: None, request.device: None if windows is None else windows.shape[1]}
    for device, length in named.items():
        if device.startswith("cuda:") and (memory_b := device_memory_b(device)) is not None:
            check_room(sizes_of_checkpoint(checkpoint), memory_b, device, length)
