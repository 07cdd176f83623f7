"""Import renamed modules by their old names, with a DeprecationWarning.

A finder makes an empty module for each old name. What is looked up in it comes from the
module of the new name.
"""

import sys
import warnings
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

# The documented modules of version 0.1 that have another name now. They go in version 0.3.
RENAMED: Final[Mapping[str, str]] = {
    "haloquant.config": "haloquant.recipe",
    "haloquant.dvfs.points": "haloquant.dvfs.operating_points",
    "haloquant.gates": "haloquant.circuits",
    "haloquant.gates.characterize": "haloquant.circuits.characterization",
    "haloquant.gates.explain": "haloquant.circuits.timing.path_report",
    "haloquant.gates.liberty": "haloquant.circuits.liberty.parser",
    "haloquant.gates.netlist": "haloquant.circuits.netlist.parser",
    "haloquant.gates.rtl": "haloquant.circuits.rtl.generator",
    "haloquant.gates.simulate": "haloquant.circuits.simulation.value_table",
    "haloquant.gates.sta": "haloquant.circuits.timing.static_timing",
    "haloquant.gates.stimuli": "haloquant.circuits.simulation.stimuli",
    "haloquant.lm.packed_model": "haloquant.lm.packed.reader",
    "haloquant.lm.replace": "haloquant.lm.swap_weights",
    "haloquant.pipeline": "haloquant.jobs.compare.job",
    "haloquant.pipeline.job": "haloquant.jobs.compare.job",
    "haloquant.pipeline.machines": "haloquant.jobs.machines.systems",
    "haloquant.quant.baselines": "haloquant.quant.rivals.registry",
    "haloquant.quant.refine": "haloquant.quant.rounding.refinement",
    "haloquant.quant.weight": "haloquant.quant.layer",
    "haloquant.store.library": "haloquant.store.cell_libraries",
    "haloquant.types": "haloquant.records",
}


def find_old_names() -> None:
    """Let the old names of modules be imported from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())  # before folders that an old checkout left behind


class _OldModule(ModuleType):
    """A module of an old name: what is looked up comes from the new module, with a warning."""

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of the new module; `__all__` is the list of its public names.

        Raises:
            AttributeError: The new module has no such attribute.
        """
        old, new = self.__name__, RENAMED[self.__name__]
        if name == "__all__":
            return dir(self)
        if name.startswith("__"):
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        try:
            found = getattr(import_module(new), name)
        except AttributeError as error:
            raise AttributeError(
                f"{old} is now {new}, which has no {name!r}: it has another name or module since version 0.2 "
                "(docs/architecture.md)"
            ) from error
        said = f"{old}.{name} is now {new}.{name}; the old name goes in version 0.3"
        warnings.warn(said, DeprecationWarning, stacklevel=2)
        return found

    def __dir__(self) -> list[str]:
        """Return the public names of the new module: its `__all__`, or every name without an underscore in front."""
        module = import_module(RENAMED[self.__name__])
        given: list[str] | None = getattr(module, "__all__", None)
        return list(given) if given is not None else [name for name in dir(module) if not name.startswith("_")]


class _Finder(MetaPathFinder, Loader):
    """Finds and makes the modules of old names."""

    def find_spec(
        self, fullname: str, path: Iterable[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old name, and None for any other."""
        if fullname not in RENAMED:
            return None
        package = any(name.startswith(f"{fullname}.") for name in RENAMED)
        return ModuleSpec(fullname, self, is_package=package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return an empty module of the old name."""
        return _OldModule(spec.name, f"Old name of `{RENAMED[spec.name]}`. It goes in version 0.3.")

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the module is empty."""
