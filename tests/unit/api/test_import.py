"""`import haloquant` is light, and shows the public functions."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import haloquant
import haloquant.api

HEAVY = ("numpy", "torch", "transformers", "scipy", "numba", "rich", "typer", "msgspec", "altair")
PUBLIC = [name for name in haloquant.__all__ if not name.startswith("_")]


def test_no_heavy_module_is_imported_with_the_package() -> None:
    """In a fresh process: neither `import haloquant` nor `dir(haloquant)` imports any of them."""
    code = f"import sys, haloquant; dir(haloquant); print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_listed_and_can_be_imported() -> None:
    wanted = {
        "quantize",
        "evaluate",
        "simulate",
        "characterize",
        "explore",
        "load",
        "verify",
        "run",
        "compare",
        "export",
    }
    assert wanted <= set(haloquant.__all__)
    assert set(haloquant.__all__) <= set(dir(haloquant))
    for name in haloquant.__all__:
        assert getattr(haloquant, name) is not None
    for name in haloquant.api.__all__:
        assert getattr(haloquant.api, name) is not None
    assert haloquant.__version__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="quantise"):
        haloquant.quantise  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_is_documented(name: str) -> None:
    """Each says what it takes, returns and raises; options are keywords; an example takes five lines at most."""
    function = getattr(haloquant, name)
    said = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters.values():
        assert f"{parameter.name}: " in said, parameter.name
        assert parameter.annotation is not inspect.Parameter.empty
    assert "Raises:" in said
    positional = [p for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len(positional) <= 2
    code = said.split("```python")[1].split("```")[0]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 5
    ast.parse("\n".join(line.removeprefix("    ") for line in code.splitlines()))


def test_type_checkers_see_what_is_imported() -> None:
    """The stub that type checkers read names exactly what the package gives."""
    stub = Path(haloquant.__file__).with_suffix(".pyi")
    tree = ast.parse(stub.read_text())
    imported = {alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(haloquant.__all__)


def test_a_missing_package_is_named_with_its_extra() -> None:
    """In a process where torch and altair cannot be imported, as in an installation without extras."""
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['altair'] = None; import haloquant\n"
        "from haloquant.cli.app import invoke\n"
        "try: haloquant.evaluate\n"
        "except haloquant.errors.MissingExtraError as error: print(error)\n"
        "print(invoke(['evaluate', 'demo']), invoke(['profiles', '--plot', 'x.html']), invoke(['targets']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    said = done.stdout.splitlines()
    assert said[0].startswith("this needs torch, which is not installed: pip install 'haloquant[lm]'; ")
    assert said[-1] == "5 5 0"
    assert "Traceback" not in done.stderr and "pip install 'haloquant[report]'" in done.stderr
