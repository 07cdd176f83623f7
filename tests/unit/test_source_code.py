"""Hashes of source code, and machine code that follows every file it was compiled from."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from haloquant.source_code import follow, source_sha256

PACKAGE = Path(importlib.import_module("haloquant").__file__ or "").parent


def test_the_hash_changes_with_each_file_and_stays_without_a_change(tmp_path: Path) -> None:
    (tmp_path / "quant" / "parts").mkdir(parents=True)
    (tmp_path / "cli").mkdir()
    files = {name: tmp_path / name for name in ("quant/a.py", "quant/parts/b.py", "units.py")}
    for file in (*files.values(), tmp_path / "cli" / "c.py", tmp_path / "quant" / "note.txt"):
        file.write_text("x = 1\n")

    def found() -> str:
        return source_sha256(("quant", "units.py"), tmp_path)

    seen = {found()}
    (tmp_path / "cli" / "c.py").write_text("x = 2\n")
    (tmp_path / "quant" / "note.txt").write_text("y")
    assert seen == {found()}
    for file in files.values():
        file.write_text("x = 2\n")
        seen.add(found())
    files["quant/a.py"].rename(tmp_path / "quant" / "d.py")
    seen.add(found())
    assert len(seen) == 5


KERNEL = """
import sys
sys.path.insert(0, sys.argv[1])
import kernel
print(kernel.double(3), sum(kernel.double.stats.cache_hits.values()))
"""
KERNEL_FILE = """
from numba import njit
import constants
from haloquant.source_code import follow

@njit(cache=True)
def double(x):
    return constants.FACTOR * x

follow(double, constants)
"""


@pytest.mark.slow
def test_a_kernel_is_compiled_anew_when_a_file_that_it_follows_has_changed(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(KERNEL_FILE)

    def run(factor: int) -> str:
        (tmp_path / "constants.py").write_text(f"FACTOR = {factor}\n")
        done = subprocess.run(
            [sys.executable, "-B", "-c", KERNEL, str(tmp_path)], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert [run(2), run(2), run(5), run(5)] == ["6 0", "6 1", "15 0", "15 1"]


def test_a_kernel_whose_cache_has_another_form_is_not_kept() -> None:
    kernel = SimpleNamespace(_cache=SimpleNamespace())
    follow(kernel, importlib.import_module("haloquant.units"))
    assert type(kernel._cache).__name__ == "NullCache"


def cached_kernels() -> list[Path]:
    files = sorted(path for path in PACKAGE.rglob("*.py") if "data" not in path.relative_to(PACKAGE).parts)
    return [path for path in files if "cache=True" in path.read_text()]


@pytest.mark.parametrize("file", cached_kernels(), ids=lambda file: file.stem)
def test_kernels_that_numba_keeps_contain_nothing_of_another_file_that_they_do_not_follow(file: Path) -> None:
    tree = ast.parse(file.read_text())
    origin: dict[str, set[str]] = {}  # name in this module -> modules of ours that it comes from
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("haloquant"):
            origin |= {alias.asname or alias.name: {_module_of(node.module or "", alias.name)} for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            came = set[str]().union(*(origin[name] for name in _names(node.value) if name in origin))
            if came:
                origin[node.targets[0].id] = came
    followed: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "follow":
            followed |= {module for name in node.args[1:] for module in origin[ast.unparse(name)]}
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any("njit" in ast.unparse(each) for each in node.decorator_list):
            body = ast.Module(node.body, [])
            used |= set[str]().union(*(origin[name] for name in _names(body) if name in origin))
    assert used <= followed, f"write constants into {file.name} itself, or let its kernels follow {used - followed}"


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _module_of(module: str, name: str) -> str:
    """Return the module that an import takes its name from: the package's own module, or the module that is named."""
    path = PACKAGE.parent / module.replace(".", "/") / f"{name}.py"
    return f"{module}.{name}" if path.is_file() else module
