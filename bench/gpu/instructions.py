"""Count the instructions per weight of the packed kernels in the compiler's output. No GPU is needed or measured.

Each kernel is compiled to machine code. The instructions of its loop over tiles are counted, those of an inner loop as
often as it runs, and divided by the weights that one thread decodes in a tile. This gives one floor: an H200 issues at
most one warp instruction per cycle on each of the 4 schedulers of its 132 multiprocessors. The other floor is reading
the stored bytes at the bandwidth of a large copy. Registers, spills and loads from the codebook are also given.

    python bench/gpu/instructions.py --capability 80 90
    python bench/gpu/instructions.py --decode            # the decode kernel in CUDA C++ too
"""

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from haloquant.kernels.cuda.launch import _defines
from haloquant.kernels.cuda.launch_plan import WAYS as WAYS_IN_CUDA
from haloquant.kernels.cuda.launch_plan import launch_plan
from haloquant.kernels.cuda.presence import has_cuda_core
from haloquant.kernels.cuda.programs import machine_code
from haloquant.kernels.triton import activation_digits, dequantization, gemm, gemv

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
CLOCK_HZ, MULTIPROCESSORS, SCHEDULERS, LANES = 1.7e9, 132, 4, 32
COPY_BYTES_PER_S = 4.0e12  # what a large copy is said to reach on an H200; bench/gpu/measure.py measures it
TILE = 128
SHAPES = [(4096, 11008), (8192, 28672)]
BITS = {"sixteen": 4.125, "nine": (25 * 16 + 3 * 4) / TILE + 0.125}  # codes and scales of full tiles
WAYS = [(64, 1), (128, 4)]  # rows and warps a program
STORED = {"packed": "*u8", "scale": "*fp16", "classes": "*u8", "offsets": "*i64", "words": "*u8", "counts": "*i32"}
FEATURES = {"out_features": "i32", "in_features": "i32", "across": "i32"}


@dataclass(frozen=True)
class Compiled:
    """One kernel for one target."""

    ptx: str
    code: list[tuple[int, str]]  # address and text of every instruction
    registers: int
    spilled_bytes: int


def compile_kernel(
    kernel: Any, signature: dict[str, str], constants: dict[str, Any], capability: int, warps: int
) -> Compiled:
    """Compile for a target that this machine need not have; pointers and feature counts are multiples of 16."""
    function = kernel.fn if isinstance(kernel, triton.runtime.Autotuner) else kernel
    aligned = [i for i, name in enumerate(signature) if signature[name][0] == "*" or name.endswith("_features")]
    source = ASTSource(
        function,
        signature | dict.fromkeys(constants, "constexpr"),
        constants,
        {(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    options = {"num_warps": warps, "enable_fp_fusion": True}
    done = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(done.asm["cubin"])
        file.flush()
        listing = run_tool("nvdisasm", "-c", file.name)
        usage = run_tool("cuobjdump", "--dump-resource-usage", file.name)
    numbers = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return Compiled(done.asm["ptx"], instructions(listing), numbers["REG"], numbers["STACK"] + numbers["LOCAL"])


def run_tool(name: str, *arguments: str) -> str:
    """Return the output of a tool that Triton's wheel contains."""
    return subprocess.run([str(TOOLS / name), *arguments], capture_output=True, text=True, check=True).stdout


def instructions(listing: str) -> list[tuple[int, str]]:
    """Address and text of every instruction, with labels put back as addresses; padding behind the end is left out."""
    labels: dict[str, int] = {}
    found: list[tuple[int, str]] = []
    waiting: list[str] = []
    for line in listing.splitlines():
        if label := re.match(r"^(\.L_x_\d+):", line):
            waiting.append(label[1])
        if place := re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(.*?);", line):
            labels |= dict.fromkeys(waiting, int(place[1], 16))
            waiting.clear()
            found.append((int(place[1], 16), place[2]))
    named = [(at, re.sub(r"`\((\.L_x_\d+)\)", lambda m: hex(labels[m[1]]), text)) for at, text in found]
    return [(at, text) for at, text in named if not text.strip().startswith("NOP")]


def loops(code: list[tuple[int, str]]) -> list[tuple[int, int]]:
    """First and last address of every loop: where a branch goes back."""
    branches = ((at, re.search(r"BRA.*?0x([0-9a-f]+)", text)) for at, text in code)
    backward = [(int(found[1], 16), at) for at, found in branches if found and int(found[1], 16) < at]
    return sorted(backward)


def per_tile(code: list[tuple[int, str]], rounds: dict[bool, int]) -> tuple[int, int]:
    """Instructions of a thread in one tile, and outside of the loop over tiles.

    The loop over tiles is the longest. An inner loop runs `rounds[True]` times if it decodes base 9 (it multiplies to
    64 bits again and again), else `rounds[False]` times.
    """
    found = loops(code)
    begin, end = max(found, key=lambda loop: loop[1] - loop[0])
    count = sum(begin <= at <= end for at, _ in code)
    for first, last in found:
        inside = [text for at, text in code if first <= at <= last]
        if (first, last) != (begin, end) and begin <= first and last <= end:
            times = rounds[sum("IMAD.WIDE" in text for text in inside) > 10]
            count += (times - 1) * len(inside)
    return count, sum(not begin <= at <= end for at, _ in code)


def codebook_loads(ptx: str, parameter: int) -> int:
    """Loads whose address comes from one parameter: the codebook. A tile's are few, a weight's would be many."""
    tainted: set[str] = set()
    loads = 0
    for line in ptx.splitlines():
        registers = re.findall(r"%[a-z]+\d+", line)
        if "ld.param" in line:
            if line.rstrip().endswith(f"_param_{parameter}];"):
                tainted.add(registers[0])
        elif "ld.global" in line or "cp.async" in line:
            address = re.findall(r"\[\s*(%[a-z]+\d+)", line)
            loads += bool(address) and address[-1] in tainted
        elif len(registers) > 1 and not line.strip().startswith("st.") and tainted & set(registers[1:]):
            tainted.add(registers[0])
    return loads


def sizes(books: str) -> dict[str, Any]:
    """Constants of full tiles of 128 with codebooks of one size."""
    tile = {"TILE_OUT": TILE, "TILE_IN": TILE, "WORDS": 16, "FULL": True}
    return tile | {"NINE": books == "nine", "MORE": False}


def jobs(rows: int) -> Iterator[tuple[str, Any, dict[str, str], dict[str, Any]]]:
    """Name, kernel, signature and constants of everything that runs for a layer."""
    for books in BITS:
        for int8 in (False, True):
            name = f"{books} words, {'int8' if int8 else 'bfloat16'}"
            total = "*i32" if int8 else "*fp32"
            yield (
                f"decode, {name}",
                gemv.gemv_kernel,
                {"planes": "*i8", "steps": "*fp32", **STORED, "y": total, **FEATURES, "each": "i32", "splits": "i32"},
                sizes(books) | {"WIDE": TILE, "SIXTEEN": books == "sixteen", "INT8": int8, "ROWS": rows},
            )
        yield (
            f"prefill, {books} words, int8",
            gemm.gemm_kernel,
            {"x": "*i8", **STORED, "y": "*fp32", "tokens": "i32", **FEATURES},
            sizes(books) | {"COLS": TILE, "BLOCK": 64, "ROWS": 64},
        )
        yield (
            f"dequantize, {books} words, bfloat16",
            dequantization.dequantize_kernel,
            {**STORED, "weight": "*bf16", **FEATURES, "down_first": "i32"},
            sizes(books) | {"COLS": TILE, "SIXTEEN": books == "sixteen", "ROWS": 32},
        )
    yield (
        "digits of inputs",
        activation_digits.planes_kernel,
        {"x": "*bf16", "planes": "*i8", "steps": "*fp32", "in_features": "i32", "across": "i32"},
        {"TILE_IN": TILE, "WIDE": TILE, "BLOCK": TILE, "INT8": False},
    )
    sparse = {"row_ptr": "*i32", "col": "*i16", "value": "*i8", "sparse_scale": "*fp16", "y": "*bf16"}
    counts = {"out_features": "i32", "in_features": "i32", "splits": "i32"}
    constants = {"SPARSE": True, "WIDE": False, "BLOCK": 64}
    yield "sum of splits", gemv.gather_kernel, {"parts": "*fp32", "x": "*bf16", **sparse, **counts}, constants


def describe(name: str, done: Compiled, rows: int, warps: int, signature: dict[str, str]) -> dict[str, Any]:
    """What was read in the code of one kernel."""
    row: dict[str, Any] = {"kernel": name, "warps": warps, "registers": done.registers, "spilled": done.spilled_bytes}
    if "words" in signature:
        row["codebook_loads"] = codebook_loads(done.ptx, list(signature).index("words"))
        row["rows"] = rows
    if name.startswith("decode"):
        tile, outside = per_tile(done.code, {True: TILE // 4 // 8, False: TILE // 16 // 4})
        weights = rows * TILE / (warps * LANES)
        row |= {"instructions_per_weight": tile / weights, "instructions_outside": outside}
        rate = MULTIPROCESSORS * SCHEDULERS * LANES * CLOCK_HZ
        for out, width in SHAPES:
            row[f"floor of {out} x {width}"] = {
                "issue_us": 1e6 * out * width * row["instructions_per_weight"] / rate,
                "bytes_us": 1e6 * out * width * BITS[name.split()[1]] / 8 / COPY_BYTES_PER_S,
            }
    return row


def decode_rows(capability: int) -> list[dict[str, Any]]:
    """Instructions of the decode kernel in CUDA C++ in its loop over tiles: for 40 rows, and for the 8 that remain."""
    if not has_cuda_core():
        return [{"kernel": "decode in CUDA C++", "not_compiled": "cuda-core is not installed"}]
    rows = []
    for books, kinds in (("sixteen words", (False, True)), ("nine words", (True, False))):
        for turns, stages in (WAYS_IN_CUDA[False][1], (4, 2)):
            plan = replace(
                launch_plan(32, 86, 1, "bfloat16", False, MULTIPROCESSORS, 227 << 10), turns=turns, stages=stages
            )
            code = bytes(machine_code(f"sm_{capability}", _defines("bfloat16", plan, kinds, 0)).code)
            with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
                file.write(code)
                file.flush()
                listing, usage = run_tool("nvdisasm", "-c", file.name), run_tool("cuobjdump", "-res-usage", file.name)
            own = instructions(next(part for part in listing.split(".section\t.text.") if part.startswith("decode")))
            inner = [sum(a <= at <= b for at, _ in own) for a, b in loops(own) if _products(own, a, b) > 10]
            numbers = re.search(r"Function decode:\s*\n.*?REG:(\d+) STACK:(\d+)", usage)
            registers, spilled = map(int, numbers.groups()) if numbers else (0, 0)
            rows.append({
                "kernel": f"decode in CUDA C++, {books}", "turns": turns, "stages": stages,
                "instructions_of_a_part_of_a_tile": min(inner), "registers": registers, "spilled": spilled,
            })  # fmt: skip
    return rows


def _products(code: list[tuple[int, str]], first: int, last: int) -> int:
    """The matrix products of int8 in a loop."""
    return sum("IMMA" in text for at, text in code if first <= at <= last)


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capability", type=int, nargs="*", default=[90])
    parser.add_argument("--ways", type=int, nargs=2, action="append", metavar=("ROWS", "WARPS"))
    parser.add_argument("--only", default="", help="kernels whose names begin so, such as prefill")
    parser.add_argument("--decode", action="store_true", help="count the decode kernel in CUDA C++ too")
    given = parser.parse_args()
    results = {}
    for capability in given.capability:
        rows_found = results[str(capability)] = []
        for i, (rows, warps) in enumerate(given.ways or WAYS):
            for name, kernel, signature, constants in jobs(rows):
                if (i and not name.startswith("decode")) or not name.startswith(given.only):
                    continue
                many = warps if name.startswith("decode") else 8
                done = compile_kernel(kernel, signature, constants, capability, many)
                rows_found.append(describe(name, done, constants.get("ROWS", 0), many, signature))
        rows_found += decode_rows(capability) if given.decode else []
    print(json.dumps({"note": "read in machine code; nothing was run", "capabilities": results}, indent=1))


if __name__ == "__main__":
    main()
