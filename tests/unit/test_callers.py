"""Every function and class of the product is used by the product; what only tests use does not stay in it."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src/haloquant"
LEFT_OUT = {"reference", "crosscheck", "data"}  # what the tests compare the product with


def _product() -> dict[Path, ast.Module]:
    files = (path for path in sorted(SOURCE.rglob("*.py")) if not LEFT_OUT & set(path.relative_to(SOURCE).parts))
    return {path: ast.parse(path.read_text()) for path in files}


def _used(tree: ast.Module) -> Iterator[str]:
    """Every name that a module reads. An import alone is no use: the name is read where it is imported to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value  # an annotation in quotes, or a name that is looked up


def _public() -> set[str]:
    """The names that the package and its API offer to users."""
    stubs = (SOURCE / "__init__.pyi", SOURCE / "api/__init__.pyi")
    return {alias.asname or alias.name for file in stubs for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.ImportFrom) for alias in node.names}  # fmt: skip


def test_every_function_and_class_has_a_caller() -> None:
    trees = _product()
    used = Counter(name for tree in trees.values() for name in _used(tree))
    public = _public()
    unused = {
        node.name: path.relative_to(SOURCE).as_posix()
        for path, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.decorator_list
        and not node.name.startswith("__")
        and used[node.name] == 0
        and node.name not in public
    }
    assert not unused
