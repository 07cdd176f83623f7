"""Import the documented names of version 0.1 from their old places, with a DeprecationWarning.

A finder makes an empty module for each old module. What is looked up in it comes from the module of the new name. A
name that has no successor raises an error that says what to use instead.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

# The documented modules of version 0.1 that have another name. They go in version 0.3.
RENAMED: Final[Mapping[str, str]] = {
    "haloquant.accel.baselines": "haloquant.accel.rival_systems",
    "haloquant.accel.simulate": "haloquant.accel.simulation",
    "haloquant.config": "haloquant.recipe",
    "haloquant.dvfs.points": "haloquant.dvfs.operating_points",
    "haloquant.eda.opensta": "haloquant.eda.crosscheck.opensta",
    "haloquant.gates": "haloquant.circuits",
    "haloquant.gates.characterize": "haloquant.circuits.characterization",
    "haloquant.gates.explain": "haloquant.circuits.timing.path_report",
    "haloquant.gates.liberty": "haloquant.circuits.liberty.parser",
    "haloquant.gates.netlist": "haloquant.circuits.netlist.parser",
    "haloquant.gates.ports": "haloquant.circuits.ports",
    "haloquant.gates.rtl": "haloquant.circuits.rtl.generator",
    "haloquant.gates.simulate": "haloquant.circuits.simulation.value_table",
    "haloquant.gates.sta": "haloquant.circuits.timing.static_timing",
    "haloquant.gates.stimuli": "haloquant.circuits.simulation.stimuli",
    "haloquant.lm.packed_model": "haloquant.lm.packed.reader",
    "haloquant.lm.perplexity": "haloquant.lm.evaluation.perplexity",
    "haloquant.lm.replace": "haloquant.lm.swap_weights",
    "haloquant.pipeline": "haloquant.jobs.compare.job",
    "haloquant.pipeline.job": "haloquant.jobs.compare.job",
    "haloquant.pipeline.machines": "haloquant.jobs.machines.systems",
    "haloquant.quant.allocate": "haloquant.quant.allocation",
    "haloquant.quant.baselines": "haloquant.quant.rivals.registry",
    "haloquant.quant.compensate": "haloquant.quant.rounding.compensation",
    "haloquant.quant.packing": "haloquant.quant.format.packing",
    "haloquant.quant.refine": "haloquant.quant.rounding.refinement",
    "haloquant.quant.scales": "haloquant.quant.rounding.scale_search",
    "haloquant.quant.weight": "haloquant.quant.layer",
    "haloquant.store.library": "haloquant.store.cell_libraries",
    "haloquant.types": "haloquant.records",
}
# Documented functions of version 0.1 that have another name, or another module than the rest of theirs.
MOVED: Final[Mapping[str, str]] = {
    "haloquant.dvfs.points.admissible": "haloquant.dvfs.operating_points.admissible_values",
    "haloquant.dvfs.points.clock_at": "haloquant.dvfs.alpha_power_law.clock_at",
    "haloquant.dvfs.points.least_voltage": "haloquant.dvfs.alpha_power_law.least_voltage",
    "haloquant.dvfs.points.vf_curve": "haloquant.dvfs.alpha_power_law.vf_curve",
    "haloquant.gates.characterize.exhaustive": "haloquant.circuits.characterization.exhaustive_simulation",
    "haloquant.gates.sta.worst_path": "haloquant.circuits.timing.paths.worst_path",
    "haloquant.pipeline.machines.rivals": "haloquant.jobs.machines.systems.rival_systems",
    "haloquant.quant.tiles.layer_tiles": "haloquant.quant.tile_histogram.layer_tiles",
}
# Documented functions of version 0.1 without a successor of the same arguments: what to do instead.
GONE: Final[Mapping[str, str]] = {
    "haloquant.accel.baselines.measured_system": "haloquant.accel.rival_systems.System takes the measured tiles",
    "haloquant.dvfs.points.clock_beyond": (
        "haloquant.dvfs.alpha_power_law.alpha_power_delay gives the delay at any supply, relative to a corner's"
    ),
    "haloquant.dvfs.points.fastest": "haloquant.dvfs.classes.choose_classes chooses fast words for a model's weights",
    "haloquant.gates.stimuli.gaussian_activations": (
        "haloquant.circuits.simulation.stimuli.activation_stimuli takes the probabilities of all 4**bits transitions"
    ),
    "haloquant.lm.checkpoint.stream_weights": ("haloquant.lm.checkpoint.read_weight reads each of `checkpoint.layers`"),
    "haloquant.lm.hf": "haloquant.load reads a packed model into transformers",
    "haloquant.quant.weight.result": (
        "haloquant.quant.layer.dequantize gives the layer's weights and mac_values the integers of the MAC"
    ),
}


def find_old_names() -> None:
    """Let the old names of modules be imported from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())  # before folders that an old checkout left behind


def moved_names(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module whose name is unchanged, for its functions that have moved."""

    def find(name: str) -> Any:
        if f"{module}.{name}" not in MOVED:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return _moved(f"{module}.{name}", MOVED[f"{module}.{name}"])

    return find


def _moved(old: str, new: str) -> Any:
    """Return what has the new name, and warn the caller's caller."""
    module, _, name = new.rpartition(".")
    found = getattr(import_module(module), name)
    said = f"{old} is now {new}; the old name goes in version 0.3"
    warnings.warn(said, DeprecationWarning, stacklevel=3)
    return found


def _reason(old: str) -> str:
    """Return the sentence of the error at an old name that leads nowhere."""
    if old in GONE:
        return f"{old} is gone since version 0.2: {GONE[old]}"
    module, _, name = old.rpartition(".")
    return (
        f"{module} is now {RENAMED[module]}, which has no {name!r}: it has another name or module since version 0.2 "
        "(docs/architecture.md)"
    )


class _OldModule(ModuleType):
    """A module of an old name: what is looked up comes from the new module, with a warning."""

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of the new module; `__all__` is the list of its public names.

        Raises:
            AttributeError: There is no such attribute. The text says what there is instead.
        """
        old = f"{self.__name__}.{name}"
        new = MOVED.get(old, f"{RENAMED[self.__name__]}.{name}")
        if name == "__all__":
            return dir(self)
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        try:
            return _moved(old, new)
        except AttributeError as error:
            raise AttributeError(_reason(old)) from error

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
        """Return a spec for an old name, and None for any other.

        Each old module is a package, so that `from old import name` comes here if it has no such name: the text of
        Python's own error would not say what there is instead.

        Raises:
            ImportError: The old module has no such name, or the name is gone.
        """
        if fullname in RENAMED:
            return ModuleSpec(fullname, self, is_package=True)
        if fullname in GONE or fullname.rpartition(".")[0] in RENAMED:
            raise ImportError(_reason(fullname), name=fullname)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return an empty module of the old name."""
        return _OldModule(spec.name, f"Old name of `{RENAMED[spec.name]}`. It goes in version 0.3.")

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the module is empty."""
