"""Read accelerator targets from TOML files (`data/targets/*.toml` are shipped) into records.

An unknown key is refused, and the error names its path.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import get_args

import msgspec

from haloquant.accel.cost_model.cycles import WeightLoad
from haloquant.accel.target import (
    Array,
    ClockBlock,
    Dram,
    Figure,
    GpuTarget,
    OnChip,
    SparseRows,
    Spmv,
    Static,
    Target,
    Transition,
)
from haloquant.errors import MALFORMED, TargetError
from haloquant.records import OperatingPoint
from haloquant.store.atomic_files import read_bounded
from haloquant.store.toml_quantities import parse_quantity

FORMAT = 1
MAX_BYTES = 1 << 20
MAX_COUNT = 1 << 20  # limit of rows, columns, arrays and lanes: more than any machine has, far below an overflow


def shipped_targets() -> tuple[str, ...]:
    """Return the names of the targets that come with the package."""
    folder = resources.files("haloquant") / "data" / "targets"
    return tuple(sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml")))


def read_target(name_or_path: str | Path) -> Target | GpuTarget:
    """Return a shipped target by its name, or the target that a TOML file describes.

    Raises:
        TargetError: There is no such target, or the file is malformed. The message names the path of the key.
    """
    text = str(name_or_path)
    if not text.endswith(".toml"):
        if text not in shipped_targets():
            raise TargetError(
                f"target must be one of {', '.join(shipped_targets())} or the path of a .toml file, not {text!r}"
            )
        return parse_target((resources.files("haloquant") / "data" / "targets" / f"{text}.toml").read_bytes())
    path = Path(name_or_path)
    raw = read_bounded(path, MAX_BYTES, "a target must be a file", TargetError)
    try:
        return parse_target(raw)
    except TargetError as error:
        raise TargetError(f"{path}: {error}") from error


def read_systolic(name_or_path: str | Path) -> Target:
    """Return a target that must be a systolic array.

    Raises:
        TargetError: The target is a processor by its roofline, or `read_target` refuses it.
    """
    target = read_target(name_or_path)
    if not isinstance(target, Target):
        raise TargetError(
            f"target must be a systolic array here, and {target.name} is a roofline; choose edge_lpddr5x, paper_tpu "
            "or tpuv4i_like"
        )
    return target


def read_gpu(name_or_path: str | Path) -> GpuTarget:
    """Return a target that must be a processor by its roofline (`kind = "gpu"`): a graphics processor or a CPU.

    Raises:
        TargetError: The target is a systolic array, or `read_target` refuses it.
    """
    target = read_target(name_or_path)
    if not isinstance(target, GpuTarget):
        raise TargetError(
            f"target must be a GPU or CPU (a roofline) here, and {target.name} is a systolic array; choose "
            "gpu_2080ti, h200 or rpi5"
        )
    return target


def parse_target(raw: bytes) -> Target | GpuTarget:
    """Return the target that the bytes of a TOML file describe.

    Raises:
        TargetError: The bytes are not TOML, a key is unknown or missing, or a value, unit or status is not allowed.
    """
    try:
        document: object = msgspec.toml.decode(raw.removeprefix(b"\xef\xbb\xbf"))
    except MALFORMED as error:
        raise TargetError(f"target file must be TOML, and it is not: {error}") from error
    reader = _Reader(_table(document, "target file"), "")
    version = reader.take("format")
    if version != FORMAT:
        raise TargetError(f"format must be {FORMAT}, not {version!r}; this file is of another version")
    kind = reader.text("kind")
    if kind not in ("systolic", "gpu"):
        raise TargetError(f"kind must be systolic or gpu, not {kind!r}")
    target = _systolic(reader) if kind == "systolic" else _gpu(reader)
    reader.finish()
    return target


class _Reader:
    """Reads one TOML table key by key and removes each key that it reads.

    `finish` refuses the keys that remain. `figures` collects every number with its unit, status and source, by the path
    of its key.
    """

    def __init__(self, table: Mapping[str, object], path: str, figures: dict[str, Figure] | None = None) -> None:
        self.table, self.path = dict(table), path
        self.figures: dict[str, Figure] = {} if figures is None else figures

    def where(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str) -> object:
        if key not in self.table:
            raise TargetError(f"{self.where(key)} is missing from the target")
        return self.table.pop(key)

    def text(self, key: str) -> str:
        value = self.take(key)
        if not isinstance(value, str) or not value:
            raise TargetError(f"{self.where(key)} must be a text, not {value!r}")
        return value

    def number(self, key: str, unit: str, lowest: float = 0.0, open_below: bool = False) -> float:
        made = parse_quantity(self.take(key), unit, self.where(key), lowest, open_below)
        self.figures[self.where(key)] = made
        return made.value

    def positive(self, key: str, unit: str) -> float:
        return self.number(key, unit, 0.0, True)

    def whole(self, key: str) -> int:
        value = self.number(key, "1", 1.0)
        if value != int(value):
            raise TargetError(f"{self.where(key)}.value must be a whole number, not {value:g}")
        if value > MAX_COUNT:
            raise TargetError(f"{self.where(key)}.value must be at most {MAX_COUNT}, not {value:g}")
        return int(value)

    def share(self, key: str) -> float:
        value = self.positive(key, "1")
        if value > 1:
            raise TargetError(f"{self.where(key)}.value must be at most 1, not {value:g}")
        return value

    def section(self, key: str) -> "_Reader":
        return _Reader(_table(self.take(key), self.where(key)), self.where(key), self.figures)

    def sections(self, key: str) -> list["_Reader"]:
        value = self.take(key)
        if not isinstance(value, list) or not value:
            raise TargetError(f"{self.where(key)} must be a list of tables ([[{key}]]), not {value!r}")
        items: list[object] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        return [
            _Reader(_table(item, f"{self.where(key)}[{i}]"), f"{self.where(key)}[{i}]", self.figures)
            for i, item in enumerate(items)
        ]

    def finish(self) -> None:
        for key in self.table:
            raise TargetError(
                f"{self.where(key)} is not known to targets of this kind; remove it or correct its spelling"
            )


def _table(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TargetError(f"{path} must be a table, not {value!r}")
    return {str(key): item for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _points(reader: _Reader) -> tuple[OperatingPoint, ...]:
    points: list[OperatingPoint] = []
    for item in reader.sections("points"):
        points.append(OperatingPoint(item.positive("voltage", "V"), item.positive("frequency", "Hz")))
        item.finish()
        if len(points) > 1 and points[-1].frequency_hz <= points[-2].frequency_hz:
            raise TargetError(f"{item.path}.frequency must be above the one before it; points ascend")
    return tuple(points)


def _on_chip(reader: _Reader, bandwidth: bool) -> OnChip:
    made = OnChip(
        reader.positive("size", "B"),
        reader.positive("bandwidth", "B/s") if bandwidth else float("inf"),
        reader.number("read", "J/bit"),
        reader.number("write", "J/bit"),
    )
    reader.finish()
    return made


def _dram(reader: _Reader) -> Dram:
    made = Dram(
        reader.positive("bandwidth", "B/s"),
        reader.share("efficiency"),
        reader.number("energy", "J/bit"),
        reader.number("latency", "s"),
    )
    reader.finish()
    return made


def _transition(reader: _Reader) -> Transition:
    made = Transition(reader.number("latency", "s"), reader.number("energy", "J"), reader.share("regulator_efficiency"))
    reader.finish()
    return made


def _array(reader: _Reader) -> Array:
    load = reader.text("weight_load")
    if load not in set(WeightLoad):
        raise TargetError(f"{reader.where('weight_load')} must be one of {', '.join(WeightLoad)}, not {load!r}")
    clocks = reader.text("clocks")
    if clocks not in ("claimed", "profile"):
        raise TargetError(f"{reader.where('clocks')} must be claimed or profile, not {clocks!r}")
    sparse = reader.text("sparse_rows") if "sparse_rows" in reader.table else "none"
    if sparse not in get_args(SparseRows):
        raise TargetError(
            f"{reader.where('sparse_rows')} must be one of {', '.join(get_args(SparseRows))}, not {sparse!r}"
        )
    energy_v = reader.positive("profile_voltage", "V") if "profile_voltage" in reader.table else 0.0
    made = Array(
        reader.whole("rows"),
        reader.whole("columns"),
        reader.whole("count"),
        WeightLoad(load),
        reader.positive("float_rate", "1"),
        reader.positive("float_energy", "1"),
        clocks == "claimed",
        "gather" if sparse == "gather" else "none",
        energy_v,
    )
    reader.finish()
    return made


def _systolic(reader: _Reader) -> Target:
    name, description = reader.text("name"), reader.text("description")
    array = _array(reader.section("array"))
    points = _points(reader)
    transition = _transition(reader.section("transition"))
    accumulator = _on_chip(reader.section("accumulator"), bandwidth=False)
    sram = _on_chip(reader.section("sram"), bandwidth=True)
    dram = _dram(reader.section("dram"))
    spmv = reader.section("spmv")
    engine = Spmv(spmv.whole("lanes"), OperatingPoint(spmv.positive("voltage", "V"), spmv.positive("frequency", "Hz")))
    spmv.finish()
    static = reader.section("static")
    power = Static(static.number("array", "W"), static.number("rest", "W"))
    static.finish()
    return Target(name, description, array, points, transition, accumulator, sram, dram, engine, power, reader.figures)


def _gpu(reader: _Reader) -> GpuTarget:
    name, description = reader.text("name"), reader.text("description")
    rates = reader.section("rates")
    float16, int8, int4 = (rates.positive(key, "mac/s") for key in ("float16", "int8", "int4"))
    efficiency = rates.share("efficiency")
    rates.finish()
    dram = _dram(reader.section("dram"))
    points = _points(reader)
    transition = _transition(reader.section("transition"))
    power = reader.section("power")
    idle, limit = power.number("idle", "W"), power.positive("limit", "W")
    power.finish()
    blocks: list[ClockBlock] = []
    for item in reader.sections("blocks"):
        follows = item.take("follows")
        if not isinstance(follows, bool):
            raise TargetError(f"{item.where('follows')} must be true or false, not {follows!r}")
        blocks.append(ClockBlock(item.text("name"), follows, item.text("why")))
        item.finish()
    return GpuTarget(
        name, description, float16, int8, int4, efficiency, dram, points, transition, idle, limit, tuple(blocks),
        reader.figures,
    )  # fmt: skip
