"""Which vector instructions the kernels may use on this CPU, as numba compiles for it."""

# numba and llvmlite have no type annotations:
# pyright: reportAttributeAccessIssue=false

import platform

import llvmlite.binding as llvm
from numba.core import config

# Names of features as LLVM gives them.
AVX512 = ("avx512f", "avx512bw", "avx512vl", "f16c")
AVX2 = ("avx2", "fma", "f16c")
VNNI, AVX_VNNI = "avx512vnni", "avxvnni"  # dot products of bytes, in AVX-512 and beside AVX2
DOT_PRODUCT = "dotprod"  # the same in NEON


def instruction_set() -> str:
    """Return `avx512`, `avx2` or `neon`, with `+vnni` or `+dotprod` behind it, or `none`: the best set of this CPU.

    A CPU that has AVX-512 has AVX2 too. The result is `none` if numba is told to compile for another CPU
    (`NUMBA_CPU_NAME`), since that CPU may lack the instructions.
    """
    if config.CPU_NAME not in (None, "", "host"):
        return "none"
    return of_features(platform.machine(), dict(llvm.get_host_cpu_features()))


def of_features(machine: str, features: dict[str, bool]) -> str:
    """Return the best instruction set of a CPU with these features.

    Args:
        machine: the architecture, as `platform.machine` names it.
        features: whether the CPU has a feature, by LLVM's name of it.
    """
    if machine in ("aarch64", "arm64"):  # every CPU of this architecture has NEON
        return "neon+dotprod" if features.get(DOT_PRODUCT, False) else "neon"
    dot_products = any(features.get(name, False) for name in (VNNI, AVX_VNNI))
    if all(features.get(name, False) for name in AVX512):
        return "avx512+vnni" if dot_products else "avx512"
    if not all(features.get(name, False) for name in AVX2):
        return "none"
    return "avx2+vnni" if features.get(AVX_VNNI, False) else "avx2"


INSTRUCTION_SET = instruction_set()
