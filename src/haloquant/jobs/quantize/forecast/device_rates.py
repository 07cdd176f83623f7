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
        factor: operations per second of a Cholesky factor, n^3 / 3 for n inputs.
        memory: bytes per second that an elementwise step reads and writes.
        to_device: bytes per second from the memory of the CPU.
        to_host: bytes per second to the memory of the CPU.
        host: bytes per second that one thread of the CPU reads and writes in steps of whole layers.
        column: seconds of one column of a block in the fused loop, for up to `together` rows.
        together: rows that run at the same time.
    """

    name: str
    memory_b: float
    product: DeviceRate
    calibration: DeviceRate
    factor: DeviceRate
    memory: DeviceRate
    to_device: DeviceRate
    to_host: DeviceRate
    host: DeviceRate
    column: DeviceRate
    together: int

    def described(self) -> dict[str, DeviceRate]:
        """Return the rates by their names for people."""
        return {
            "float32 products, op/s": self.product,
            "calibration of a block, op/s": self.calibration,
            "Cholesky factor, op/s": self.factor,
            "elementwise steps, B/s": self.memory,
            "copies to the device, B/s": self.to_device,
            "copies to the host, B/s": self.to_host,
            "steps of the CPU between, B/s": self.host,
            "a column of the fused loop, s": self.column,
        }


_H100 = "bench/gpu/results/h100.json"
H100: Final = DeviceRates(
    name="NVIDIA H100 80GB",
    memory_b=85.0e9,
    product=DeviceRate(49e12, True, f"{_H100}: 4096 x 4096 x 4096, TF32 off"),
    calibration=DeviceRate(
        11.5e12, True, "bench/gpu/results/h200_calibration.json: a 7B-shaped block on an H200; an H100 computes alike"
    ),
    factor=DeviceRate(12e12, False, f"half the rate of cuSOLVER at 11008 in {_H100}; the blocked one was not run"),
    memory=DeviceRate(2.43e12, True, f"{_H100}: copies within the device"),
    to_device=DeviceRate(5.9e9, True, f"{_H100}: from memory that is not pinned"),
    to_host=DeviceRate(14.1e9, True, f"{_H100}: to memory that is not pinned"),
    host=DeviceRate(8e9, False, "one thread of a server processor"),
    column=DeviceRate(4e-6, False, "a fifth of plain torch's column in a CUDA graph; the Triton kernel was not run"),
    together=132 * 4 * 16,  # multiprocessors, programs on each, rows of a program
)
