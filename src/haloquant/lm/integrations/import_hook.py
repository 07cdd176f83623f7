"""Register the quantization method "halo" with transformers, without importing transformers.

If transformers is already imported, the method is registered at once, otherwise when transformers is imported.
transformers does not discover quantization methods, so `import haloquant` has to come before `from_pretrained`. The
order of `import haloquant` and `import transformers` does not matter. This module runs at `import haloquant` and
imports only the standard library.
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
    """Register the method "halo" now, or as soon as the registry of transformers is imported."""
    module = sys.modules.get(TARGET)
    if module is not None and hasattr(module, "register_quantizer"):
        _register()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _register() -> None:
    import_module("haloquant.lm.integrations.transformers")  # the module registers its classes when it is imported


class _Finder(MetaPathFinder):
    """Wraps the loader of the registry of transformers, so that it registers "halo" after loading."""

    def find_spec(
        self, fullname: str, path: Iterable[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the usual spec of the registry's module with a wrapped loader; None for other modules."""
        if fullname != TARGET:
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Loads with the loader that it wraps, then registers."""

    def __init__(self, inner: Loader) -> None:
        self.inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module with the inner loader."""
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module with the inner loader, then register the classes, since the registry is complete now."""
        self.inner.exec_module(module)
        _register()

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)
