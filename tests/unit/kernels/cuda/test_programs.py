"""The source compiles for GPUs without a GPU, spills little, and is kept in the user's folder of caches."""

import re
import subprocess
from pathlib import Path

import pytest

from haloquant.kernels.cuda import launch, programs
from haloquant.kernels.cuda.launch_plan import launch_plan
from support.draws import daily

pytest.importorskip("cuda.core")
_TOOLS = Path(pytest.importorskip("triton").__file__).parent / "backends/nvidia/bin"
ALL = (True, True)  # tiles in base 9, and in nibbles


@pytest.fixture
def caches(tmp_path, monkeypatch) -> Path:
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc")
    try:
        nvrtc.nvrtcVersion()
    except RuntimeError:
        pytest.skip("NVIDIA's run-time compiler is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def compiled(architecture: str, kind: str, tokens: int, books: tuple[bool, bool], sparse: int) -> bytes:
    plan = launch_plan(32, 86, tokens, kind, bool(sparse), 132, 163 << 10)
    return bytes(programs.machine_code(architecture, launch._defines(kind, plan, books, sparse)).code)


def spilled_bytes(code: bytes, folder: Path) -> int:
    file = folder / "decode.cubin"
    file.write_bytes(code)
    told = subprocess.run([_TOOLS / "cuobjdump", "--dump-resource-usage", file], capture_output=True, text=True)
    return int(re.search(r"Function decode:\s*\n.*?STACK:(\d+)", told.stdout)[1])


PROGRAMS = [
    ("sm_90", "float16", 8, ALL, 0, 96),
    ("sm_90", "float32", 4, (True, False), 0, 0),
    ("sm_80", "int8", 16, (False, True), 0, 0),
    ("sm_80", "bfloat16", 1, ALL, 1, 96),
    ("sm_90", "bfloat16", 1, ALL, 1, 96),
]


@pytest.mark.thinned
@pytest.mark.parametrize(("architecture", "kind", "tokens", "books", "sparse", "most"), daily(PROGRAMS, PROGRAMS[:3]))
def test_machine_code_keeps_its_numbers_in_registers(
    caches, tmp_path, architecture, kind, tokens, books, sparse, most
) -> None:
    assert spilled_bytes(compiled(architecture, kind, tokens, books, sparse), tmp_path) <= most


def test_what_was_compiled_is_kept_and_an_unwritable_folder_does_not_matter(caches, monkeypatch) -> None:
    first = compiled("sm_90", "int8", 1, (False, True), 0)
    kept = [file for file in caches.rglob("*") if file.is_file()]
    assert kept and compiled("sm_90", "int8", 1, (False, True), 0) == first
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert compiled("sm_90", "int8", 1, (False, True), 0)[1:4] == b"ELF"
