"""Which vector instructions the kernels may use on this CPU, as numba compiles for it."""

# numba and llvmlite have no type annotations:
# pyright: reportAttributeAccessIssue=false

import platform

import llvmlite.binding as llvm
from numba.core import config

# Names of features as LLVM gives them.
AVX512 = ("avx512f", "avx512bw", "avx512vl", "f16c")
AVX2 = ("avx2", "fma", "f16c")
DOT_PRODUCT = "dotprod"


def instruction_set() -> str:
    """Return `avx512`, `avx2`, `neon+dotprod`, `neon`, or `none`: the best set that this CPU has.

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
    if all(features.get(name, False) for name in AVX512):
        return "avx512"
    return "avx2" if all(features.get(name, False) for name in AVX2) else "none"


INSTRUCTION_SET = instruction_set()
