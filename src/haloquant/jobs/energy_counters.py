"""Counters of energy: RAPL of a processor (files of Linux), and NVML of a graphics processor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from haloquant.errors import InputError
from haloquant.store.atomic_files import read_bounded

POWERCAP = Path("/sys/class/powercap")
MOST_BYTES = 1 << 16  # Linux gives such a file the size of a page


@dataclass(frozen=True)
class EnergyCounter:
    """A running counter.

    `name` says what it covers. `read` returns joules so far. `range_j` is where it begins at 0 again; 0 means never.
    """

    name: str
    read: Callable[[], float]
    range_j: float

    def since(self, before: float) -> float:
        """Return the joules since the reading `before`, if the counter began again at most once."""
        used = self.read() - before
        return used + self.range_j if used < 0 else used


def processor_counters(root: Path = POWERCAP) -> tuple[EnergyCounter, ...]:
    """Return one counter per processor package that Linux lets this user read; none without RAPL."""
    found: list[EnergyCounter] = []
    for folder in sorted(root.glob("intel-rapl:*")) if root.is_dir() else ():
        if folder.name.count(":") > 1:  # a part of a package
            continue
        try:
            _microjoules(folder / "energy_uj")
            range_j = _microjoules(folder / "max_energy_range_uj")
            name = read_bounded(folder / "name", MOST_BYTES).decode().strip()
        except (InputError, OSError, ValueError):
            continue
        if name.startswith("package"):
            found.append(EnergyCounter(f"RAPL {name}", _reader(folder / "energy_uj"), range_j))
    return tuple(found)


def gpu_counters(index: int) -> tuple[EnergyCounter, ...]:
    """Return the counter of a graphics processor; none without NVML or on a board that does not count."""
    if find_spec("pynvml") is None:
        return ()
    nvml = import_module("pynvml")
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:
        return ()
    return (EnergyCounter("NVML", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, 0.0),)


def names_of(counters: Sequence[EnergyCounter]) -> str:
    """Return what the counters cover together."""
    return " + ".join(counter.name for counter in counters)


def _reader(file: Path) -> Callable[[], float]:
    return lambda: _microjoules(file)


def _microjoules(file: Path) -> float:
    return int(read_bounded(file, MOST_BYTES)) / 1e6
