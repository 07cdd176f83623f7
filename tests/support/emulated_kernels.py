"""Vector kernels compiled for another CPU, linked with a small C program, and run by QEMU."""

import shutil
import subprocess
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from haloquant.kernels.cpu.tile_instructions import SPARE, TABLES, chunk_inputs, emit, orders
from haloquant.kernels.cpu.vector_operations import I64, OPERATIONS
from haloquant.quant.format.bit_layout import encode
from haloquant.records import TileGrid

KINDS = {"float": 0, "integer": 0, "wide": 1}  # which of the two kinds of operations; "wide" takes words of -128
# instruction set: triple, CPU and features for LLVM; C compiler; emulator and its CPU
TARGETS = {
    "avx2": ("x86_64-unknown-linux-gnu", "haswell", "", "x86_64-linux-gnu-gcc", ("qemu-x86_64", "-cpu", "Haswell")),
    "neon": (
        "aarch64-unknown-linux-gnu",
        "cortex-a53",
        "",
        "aarch64-linux-gnu-gcc",
        ("qemu-aarch64", "-cpu", "cortex-a53"),
    ),
    "neon+dotprod": (
        "aarch64-unknown-linux-gnu",
        "neoverse-n1",
        "",
        "aarch64-linux-gnu-gcc",
        ("qemu-aarch64", "-cpu", "max"),
    ),
}

DRIVER = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef void kernel(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);
extern kernel FUNCTIONS;
static const struct { const char *name; kernel *run; } kernels[] = { TABLE };
static void *take(FILE *in, int64_t bytes) {
  char *buffer = malloc(bytes + 1);
  if (fread(buffer, 1, bytes, in) != (size_t)bytes) exit(2);
  return buffer;
}
int main(int count, char **names) {
  FILE *in = fopen(names[2], "rb"), *out = fopen(names[3], "wb");
  int64_t *n = take(in, 11 * 8); /* bytes of codes, x, tables, scale, y; strides of x, scale, y; rows, cols, tokens */
  void *buffers[5];
  for (int i = 0; i < 5; i++) buffers[i] = take(in, n[i]);
  for (unsigned i = 0; i < sizeof kernels / sizeof *kernels; i++)
    if (!strcmp(kernels[i].name, names[1])) {
      kernels[i].run((int64_t)buffers[0], (int64_t)buffers[1], n[5], (int64_t)buffers[2], (int64_t)buffers[3], n[6],
                     (int64_t)buffers[4], n[7], n[8], n[9], n[10]);
      return fwrite(buffers[4], 1, n[4], out) != (size_t)n[4] || fclose(out);
    }
  return 3;
}
"""


def missing(name: str) -> str:
    """Return which program is absent that this instruction set needs, or nothing."""
    _, _, _, compiler, emulator = TARGETS[name]
    return next((program for program in (compiler, emulator[0]) if shutil.which(program) is None), "")


def layouts(name: str) -> tuple[str, ...]:
    return ("nibbles", "half_nibbles", "fives") if OPERATIONS[name][0].width == 32 else ("nibbles", "fives")


def object_code(name: str) -> bytes:
    """Return the kernels of an instruction set as an object file for its CPU."""
    triple, cpu, features = TARGETS[name][:3]
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module()
    for layout in layouts(name):
        for kind in KINDS:
            function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 11), f"{layout}_{kind}")
            builder = ir.IRBuilder(function.append_basic_block())
            operations = OPERATIONS[name][KINDS[kind]]
            emit(operations(builder), layout, "float" if kind == "float" else "integer", list(function.args))
            builder.ret_void()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic")
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    llvm.create_pass_builder(machine, options).getModulePassManager().run(
        parsed, llvm.create_pass_builder(machine, options)
    )
    return machine.emit_object(parsed)


def program(name: str, folder: Path) -> Path:
    """Write the kernels and the C program, and link them."""
    functions = [f"{layout}_{kind}" for layout in layouts(name) for kind in KINDS]
    table = ", ".join(f'{{"{function}", {function}}}' for function in functions)
    (folder / "kernels.o").write_bytes(object_code(name))
    (folder / "driver.c").write_text(DRIVER.replace("FUNCTIONS", ", ".join(functions)).replace("TABLE", table))
    files = [folder / "driver.c", folder / "kernels.o"]
    subprocess.run([TARGETS[name][3], "-O1", "-static", *files, "-o", folder / "kernels"], check=True, timeout=120)
    return folder / "kernels"


def word_tables(words: np.ndarray) -> np.ndarray:
    """Return the 48 bytes of a codebook: int8, and the two bytes of each bfloat16."""
    padded = np.zeros(16, np.float32)
    padded[: words.size] = words
    upper = padded.view(np.uint32) >> 16
    return np.concatenate([padded.astype(np.int8).view(np.uint8), upper & 255, upper >> 8]).astype(np.uint8)


def run(
    name: str, at: Path, layout: str, codes: np.ndarray, words: np.ndarray, scale: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """Return the results [tokens, rows] of one tile: codes [rows, cols], float16 scales [rows], inputs [tokens, cols].

    Only rows that the layout holds are computed: all rows of nibbles, whole groups of five of base 9. The results start
    at 1.
    """
    rows, cols = codes.shape
    kind = "float" if x.dtype == np.float32 else "integer"
    kind = "wide" if kind == "integer" and words.min() < OPERATIONS[name][0].lowest_word else kind
    operations = OPERATIONS[name][KINDS[kind]]
    packed = encode(codes, np.zeros((1, 1), np.uint8), (words.size,), TileGrid(rows, cols, rows, cols))
    count = rows // 5 if layout == "fives" else rows
    packed = packed[: count * (2 * cols if layout == "fives" else cols // 2)]
    order = orders(layout, "float" if kind == "float" else "integer", operations)
    size = chunk_inputs(layout, operations.width)
    assert size == order.size
    x = np.ascontiguousarray(x.reshape(x.shape[0], -1, size)[:, :, order].reshape(x.shape))
    if kind != "float":
        x = x.astype(operations.input_type)
        if operations.absolutes:
            both = x.reshape(x.shape[0], -1, 1, operations.width)
            x = np.concatenate([both, np.abs(both)], axis=2).reshape(x.shape[0], -1)  # |-128| wraps to the byte of 128
    scales = np.zeros((rows, 3), np.float16)  # one of three tiles across
    scales[:, 1] = scale
    scales = scales.ravel()[1:]
    y = np.full((x.shape[0], rows + SPARE), 1, np.float32)
    tables = word_tables(words)
    assert tables.size == TABLES
    arrays = [packed, x, tables, scales, y]
    numbers = [a.nbytes for a in arrays] + [x.strides[0], 6, y.strides[0], count, cols, x.shape[0]]
    case, result = at.parent / "case.bin", at.parent / "result.bin"
    case.write_bytes(np.array(numbers, np.int64).tobytes() + b"".join(a.tobytes() for a in arrays))
    subprocess.run([*TARGETS[name][4], at, f"{layout}_{kind}", case, result], check=True, timeout=60)
    return np.fromfile(result, np.float32).reshape(y.shape)[:, : count * (5 if layout == "fives" else 1)]
