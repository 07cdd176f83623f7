"""Compile the kernels in CUDA C++ with NVIDIA's run-time compiler, when a kind of layer is first met.

The machine code is kept in the user's folder of caches (`~/.cache/cuda-python`), so later processes load it.
"""

# cuda.core chooses its modules when it is imported, which a type checker does not see:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from functools import cache
from importlib.resources import files
from typing import Any

SOURCE = "decode.cu"


def source() -> str:
    """Return the CUDA C++ of the kernels."""
    return files("haloquant.kernels.cuda").joinpath(SOURCE).read_text()


def machine_code(architecture: str, defines: tuple[tuple[str, int], ...]) -> Any:
    """Compile, or load what an earlier process compiled; no GPU is needed.

    Args:
        architecture: such as "sm_90".
        defines: names and values that `decode.cu` expects.

    Returns:
        cuda.core's object code.
    """
    from cuda.core import Program, ProgramOptions
    from cuda.core.utils import FileStreamProgramCache

    macros = [(name, str(value)) for name, value in defines]
    options = ProgramOptions(std="c++17", arch=architecture, name=SOURCE, define_macro=macros)
    program = Program(source(), "c++", options)
    try:
        return program.compile("cubin", cache=FileStreamProgramCache())
    except OSError:  # the folder of caches cannot be written
        return program.compile("cubin")


@cache
def kernel(device: int, name: str, defines: tuple[tuple[str, int], ...], shared_bytes: int) -> Any:
    """Return a kernel that can be launched on a device with up to this much shared memory for each block of threads."""
    import torch
    from cuda.bindings import driver
    from cuda.core import Device

    with torch.cuda.device(device):  # gives the current device back
        at = Device(device)
        at.set_current()
        found = _code(at.arch, defines).get_kernel(name)
        limit = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        [status] = driver.cuKernelSetAttribute(limit, shared_bytes, found.handle, driver.CUdevice(device))
    if status != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"CUDA refuses a block with {shared_bytes} bytes of shared memory: {status.name}")
    return found


@cache
def _code(architecture: str, defines: tuple[tuple[str, int], ...]) -> Any:
    return machine_code(f"sm_{architecture}", defines)
