"""Measure everything on one H100-class GPU in at most eight minutes, and write one JSON document.

A separate process runs the sections in the order of `SECTIONS`. If it ends early or a section exceeds its time limit,
the error is recorded and a new process continues with the next section. The document is written after every section, so
no measurement is lost. Several processes first compile Triton's kernels in parallel.

    python bench/gpu/measure.py --out measured.json
    python bench/gpu/measure.py --only correctness decode
    TRITON_INTERPRET=1 python bench/gpu/measure.py --tiny    # finds mistakes without a GPU; its times mean nothing
"""

import argparse
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

START_SECONDS = 90  # that a process may take to import torch
SECTIONS = {  # seconds at most
    "environment": 30,
    "compile": 100,
    "correctness": 60,
    "copy": 15,
    "decode": 100,
    "token": 45,
    "ways": 60,
    "quantizer": 45,
    "rounding": 90,
    "calibration": 60,
    "others": 60,
    "prefill": 60,
    "energy": 45,
    "kernels": 30,
}
NOT_RUN = {
    "Marlin": "it comes only inside vLLM",
    "a whole 7B-shaped checkpoint": "it takes longer than this script: see the rows of one layer and one block",
    "several GPUs": "this script uses one",
}
COMPILED = ("decode", "token", "correctness", "prefill", "others")


def environment(bench: Any) -> None:
    """The board, its driver and clocks, and the versions of what runs on it."""
    import numpy
    import torch
    import triton

    bench.row(python=platform.python_version(), torch=torch.__version__, triton=triton.__version__)
    bench.row(numpy=numpy.__version__, cuda=torch.version.cuda, processors=os.cpu_count())
    fields = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit,temperature.gpu"
    try:
        asked = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout
        bench.row(**dict(zip(fields.split(","), answer.strip().split(", "), strict=False)))
    except (OSError, subprocess.SubprocessError) as error:
        bench.row(error=f"nvidia-smi: {error}")
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        bench.row(
            device=device.name,
            multiprocessors=device.multi_processor_count,
            memory_bytes=device.total_memory,
            cache_bytes=getattr(device, "L2_cache_size", None),
            capability=(device.major, device.minor),
        )


def section(name: str) -> Callable[[Any], None]:
    """Return the function that runs a section."""
    if name == "environment":
        return environment
    import decode_ways
    import generation
    import others
    import products
    import quantizer
    import rounding

    return {
        "correctness": products.correctness,
        "copy": products.copying,
        "decode": products.decode,
        "ways": decode_ways.ways,
        "kernels": products.kernels,
        "prefill": products.prefill,
        "token": generation.token,
        "energy": generation.energy,
        "quantizer": quantizer.rates,
        "rounding": rounding.rounding,
        "calibration": rounding.calibration,
        "others": others.others,
    }[name]


def plain(value: Any) -> Any:
    """Return the value with infinities and NaN as text, because JSON has neither."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value


def child(names: list[str], events: Path, tiny: bool, part: tuple[int, int] | None) -> int:
    """Run sections and append what happens to a file, a line of JSON for each event."""
    with events.open("a") as file:

        def emit(event: dict[str, Any]) -> None:
            print(json.dumps(plain(event), default=str), file=file, flush=True)

        emit({"started": names})
        from tools import Bench, fatal

        bench = Bench(emit, tiny, part)
        for name in names:
            emit({"begin": name})
            try:
                section(name)(bench)
            except Exception as error:
                lines = traceback.format_exc().splitlines()[-12:]
                emit({"end": name, "error": f"{type(error).__name__}: {error}"[:1000], "trace": lines})
                if fatal(error):
                    return 3
            else:
                emit({"end": name})
    return 0


class Document:
    """The results so far; the document is written again after every important change."""

    def __init__(self, out: Path | None, names: list[str]) -> None:
        self.out, self.began = out, time.monotonic()
        self.sections: dict[str, dict[str, Any]] = {name: {} for name in names}

    def text(self) -> str:
        """The JSON document."""
        rows = [row for one in self.sections.values() for row in one.get("rows", [])]
        chosen = [
            {key: row[key] for key in ("shape", "weights", "tokens", "inputs", "picks") if key in row}
            for row in rows
            if row.get("picks")
        ]
        wrong = [row for row in rows if row.get("right") is False or row.get("same_bits_twice") is False]
        missing = {name: one["skipped"] for name, one in self.sections.items() if "skipped" in one}
        missing |= {name: one["error"] for name, one in self.sections.items() if "error" in one}
        missing |= {name: "it was not asked for" for name in SECTIONS if name not in self.sections}
        head = {"seconds": round(time.monotonic() - self.began, 1), "wrong": wrong, "not_run": NOT_RUN | missing}
        return json.dumps({**head, "sections": self.sections, "tuner": chosen})

    def write(self) -> None:
        """Write it where it was asked for, in one step."""
        if self.out is not None:
            beside = self.out.with_name(self.out.name + ".part")
            beside.write_text(self.text())
            beside.replace(self.out)


def digest(document: Document) -> str:
    """The rows in short, a line each."""
    keys = ("what", "shape", "size", "weights", "tokens", "inputs", "numbers", "us", "times_faster_than_bf16")
    keys += ("share_of_copy_bandwidth", "tera_per_s", "bytes_per_s", "watts", "joules_per_token", "error")
    lines = []
    for name, found in document.sections.items():
        lines.append(f"== {name}: {found.get('seconds')} s {found.get('error', '')} {found.get('skipped', '')}")
        for row in found.get("rows", []):
            if name in ("environment", "copy"):
                lines.append(str(row))
            elif "right" not in row and "kernels" not in row:
                lines.append(
                    " ".join(
                        f"{one:.4g}" if isinstance(one, float) else str(one)[:90]
                        for one in map(row.get, keys)
                        if one is not None
                    )
                )
    wrong = json.loads(document.text())["wrong"]
    checked = sum("right" in row for found in document.sections.values() for row in found.get("rows", []))
    return "\n".join([*lines, f"== checked {checked}, wrong {len(wrong)}", *map(str, wrong[:10])])


def start(names: list[str], events: Path, tiny: bool, part: str = "") -> "subprocess.Popen[bytes]":
    """Start a process for sections in a process group of its own; its output goes to a file beside the events."""
    command = [sys.executable, __file__, "--child", *names, "--events", str(events)]
    command += ["--tiny"] * tiny + ["--part", part] * bool(part)
    with events.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(events: Path) -> list[str]:
    """The last lines that a process printed."""
    log = events.with_suffix(".log")
    return log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []


def compile_all(document: Document, folder: Path, tiny: bool, workers: int, limit: float) -> None:
    """Fill Triton's cache on disk with all kernels that the other sections run."""
    began = time.monotonic()
    names = [name for name in COMPILED if name in document.sections]
    files = [folder / f"compile{i}" for i in range(workers)]
    running = [start(names, file, tiny, f"{i}/{workers}") for i, file in enumerate(files)]
    while time.monotonic() - began < limit and any(process.poll() is None for process in running):
        time.sleep(0.2)
    late = sum(process.poll() is None for process in running)
    for process in running:
        end(process)
    errors = [line for file in files for line in file.read_text().splitlines() if '"error"' in line]
    found = {"seconds": round(time.monotonic() - began, 1), "processes": workers, "cut_short": late}
    if errors:
        found |= {"errors": errors[:8], "printed": tail(files[0])}
    document.sections["compile"] = found


def follow(document: Document, names: list[str], events: Path, tiny: bool, until: float) -> list[str]:
    """Run sections in one process until it ends, and give back what is left."""
    process = start(names, events, tiny)
    left, current, limit, read = list(names), None, time.monotonic() + START_SECONDS, 0
    while True:
        over = process.poll() is not None  # asked first, so that nothing written before is missed
        text = events.read_text() if events.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        for event in map(json.loads, whole[read:].splitlines()):
            if "begin" in event:
                current = event["begin"]
                limit = time.monotonic() + SECTIONS[current] * (10 if tiny else 1)  # the interpreter is slow
                document.sections[current] = {"began": time.monotonic(), "rows": []}
            elif "row" in event and current is not None:
                document.sections[current]["rows"].append(event["row"])
            elif "end" in event and current is not None:
                found = document.sections[current]
                found |= {key: event[key] for key in ("error", "trace") if key in event}
                close(document, current)
                left.remove(current)
                current, limit = None, time.monotonic() + START_SECONDS
        read = len(whole)
        late = time.monotonic() > min(limit, until)
        if over or late:
            end(process)
            break
        time.sleep(0.1)
    if current is None and left and (late or left == names):
        current = left[0]  # it could not even begin
    if current is not None:
        why = "its time was over" if late else f"its process ended with {process.returncode}"
        document.sections[current] |= {"error": why, "printed": tail(events)}
        close(document, current)
        left.remove(current)
    return left


def close(document: Document, name: str) -> None:
    """Note how long a section took, and write."""
    found = document.sections[name]
    if "began" in found:
        found["seconds"] = round(time.monotonic() - found.pop("began"), 1)
    document.write()


def main() -> int:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the document here, after every section")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--limit", type=float, default=470, help="seconds for all sections together")
    parser.add_argument("--workers", type=int, default=max(1, min(14, (os.cpu_count() or 1) - 2)), help="that compile")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a dry run")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--events", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        part = tuple(int(number) for number in given.part.split("/")) if given.part else None
        return child(given.child, given.events, given.tiny, part)
    names = [name for name in SECTIONS if name in given.only]
    document = Document(given.out, names)
    until = time.monotonic() + given.limit
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        left, number = names, 0
        while left and time.monotonic() < until:
            if left[0] == "compile":
                compile_all(document, folder, given.tiny, given.workers, min(SECTIONS["compile"], given.limit / 3))
                document.write()
                left = left[1:]
                continue
            before = left[: left.index("compile")] if "compile" in left else left
            after = left[len(before) :]
            left = follow(document, before, folder / f"run{number}", given.tiny, until) + after
            number += 1
    for name in left:
        document.sections[name] = {"skipped": "no time was left"}
    document.write()
    print(document.text())
    print(digest(document), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
