"""Tell transformers of packed HALO models, without importing it: it is told when it is imported, or at once if it was.

transformers finds no quantization method by itself, so `import haloquant` has to come before `from_pretrained`; the
order of `import haloquant` and `import transformers` does not matter.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

TARGET = "transformers.quantizers.auto"


def register_with_transformers() -> None:
    """Register the method "halo", now or as soon as transformers' registry is imported."""
    module = sys.modules.get(TARGET)
    if module is not None and hasattr(module, "register_quantizer"):
        _register()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _register() -> None:
    import_module("haloquant.lm.integrations.transformers")  # which registers its classes


class _Finder(MetaPathFinder):
    """Finds nothing itself; lets the loader of transformers' registry call us when it is done."""

    def find_spec(
        self, fullname: str, path: Iterable[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The usual finding of the registry's module, with our loader around its own."""
        if fullname != TARGET:
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Loads as the loader it wraps, then registers."""

    def __init__(self, inner: Loader) -> None:
        self.inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the inner loader."""
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the inner loader; then the registry is whole and takes our classes."""
        self.inner.exec_module(module)
        _register()

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)
