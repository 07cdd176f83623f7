"""How fast one H100 does the work of a quantization, and which of these rates were measured.

The measured rates are from `bench/gpu/results`. Those that no run has measured are assumed, and say from what.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class DeviceRate:
    """A rate or a time in SI units, whether it was measured, and where or from what it is."""

    value: float
    measured: bool
    source: str


@dataclass(frozen=True)
class DeviceRates:
    """The speed and the memory of one GPU.

    Attributes:
        name: the GPU.
        memory_b: its memory in bytes.
        product: floating-point operations per second of float32 products.
        calibration: operations per second of calibrating a decoder block, copies and random signs included.
        bfloat16_calibration: the same with products of bfloat16, which sum in float32.
        factor: operations per second of a Cholesky factor, n^3 / 3 for n inputs.
        search: weights per second whose scales are searched and that are rounded to the nearest words.
        to_device: bytes per second from the memory of the CPU.
        to_host: bytes per second to the memory of the CPU.
        host: bytes per second that one thread of the CPU reads and writes in steps of whole layers.
        column: seconds of one column of a block in the fused loop, for up to `together` rows.
        refined_column: the same for a round of the refinement.
        together: rows that run at the same time.
    """

    name: str
    memory_b: float
    product: DeviceRate
    calibration: DeviceRate
    bfloat16_calibration: DeviceRate
    factor: DeviceRate
    search: DeviceRate
    to_device: DeviceRate
    to_host: DeviceRate
    host: DeviceRate
    column: DeviceRate
    refined_column: DeviceRate
    together: int

    def described(self) -> dict[str, DeviceRate]:
        """Return the rates by their names for people."""
        return {
            "float32 products, op/s": self.product,
            "calibration of a block, op/s": self.calibration,
            "calibration with bfloat16 products, op/s": self.bfloat16_calibration,
            "Cholesky factor, op/s": self.factor,
            "search of scales, weights/s": self.search,
            "copies to the device, B/s": self.to_device,
            "copies to the host, B/s": self.to_host,
            "steps of the CPU between, B/s": self.host,
            "a column of the fused loop, s": self.column,
            "a column in a round of refinement, s": self.refined_column,
        }


_H100 = "bench/gpu/results/h100.json"
_H200 = "bench/gpu/results/h200_rounding.json (an H200; an H100 computes alike)"
H100: Final = DeviceRates(
    name="NVIDIA H100 80GB",
    memory_b=85.0e9,
    product=DeviceRate(49e12, True, f"{_H100}: 4096 x 4096 x 4096, TF32 off"),
    calibration=DeviceRate(
        35e12, False, "the GPU's own time in a profile of an H200 (40e12) and copies between; the whole was not run"
    ),
    bfloat16_calibration=DeviceRate(
        150e12, False, f"a fifth of a product's own 751e12 ({_H100}): conversions, norms and attention between; not run"
    ),
    factor=DeviceRate(24e12, True, f"{_H200}: 11008 inputs"),
    search=DeviceRate(2.3e9, True, f"{_H200}: 4096 x 11008"),
    to_device=DeviceRate(11.9e9, True, f"{_H200}: through pinned buffers"),
    to_host=DeviceRate(5.7e9, True, f"{_H200}: codes, through pinned buffers"),
    host=DeviceRate(16e9, True, f"{_H200}: the sparse split"),
    column=DeviceRate(3.95e-6, True, f"{_H200}: the Triton kernel"),
    refined_column=DeviceRate(7.4e-6, True, f"{_H200}: 4096 x 11008"),
    together=132 * 4 * 16,  # multiprocessors, programs on each, rows of a program
)
