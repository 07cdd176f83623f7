"""Scripts outside the package: what they take from the package is there."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(file for folder in ("bench", "scripts", "examples") for file in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_name_that_a_script_imports_from_the_package_is_there(file: Path) -> None:
    missing = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            wanted = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            wanted = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in wanted:
            if module.partition(".")[0] != "haloquant":
                continue
            try:
                there = name is None or hasattr(importlib.import_module(module), name)
                if not there:
                    importlib.import_module(f"{module}.{name}")
            except ModuleNotFoundError as error:
                if not (error.name or "").startswith("haloquant"):
                    continue  # an extra that is not installed
                missing.append(f"{module}.{name}")
    assert not missing
