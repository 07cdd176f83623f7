"""Old public names still work, and say their new name."""

import importlib
import subprocess
import sys

import pytest

from haloquant.deprecated_names import RENAMED


@pytest.mark.parametrize(
    ("old", "name", "new"),
    [
        ("haloquant.config", "Recipe", "haloquant.recipe"),
        ("haloquant.lm.replace", "find_module", "haloquant.lm.swap_weights"),
        ("haloquant.types", "MacProfile", "haloquant.records"),
        ("haloquant.pipeline", "run", "haloquant.jobs.compare.job"),
        ("haloquant.pipeline.job", "Job", "haloquant.jobs.compare.job"),
        ("haloquant.pipeline.machines", "load_shape", "haloquant.jobs.machines.systems"),
        ("haloquant.quant.weight", "dequantize", "haloquant.quant.layer"),
        ("haloquant.quant.refine", "refine", "haloquant.quant.rounding.refinement"),
        ("haloquant.quant.baselines", "rival", "haloquant.quant.rivals.registry"),
        ("haloquant.gates.netlist", "parse_netlist", "haloquant.circuits.netlist.parser"),
        ("haloquant.gates.sta", "static_delays", "haloquant.circuits.timing.static_timing"),
        ("haloquant.gates.simulate", "simulate_values", "haloquant.circuits.simulation.value_table"),
        ("haloquant.gates.stimuli", "activation_stimuli", "haloquant.circuits.simulation.stimuli"),
        ("haloquant.gates.rtl", "MacSpec", "haloquant.circuits.rtl.generator"),
        ("haloquant.gates.liberty", "parse_liberty", "haloquant.circuits.liberty.parser"),
        ("haloquant.gates.explain", "path_text", "haloquant.circuits.timing.path_report"),
        ("haloquant.gates.characterize", "characterize", "haloquant.circuits.characterization"),
        ("haloquant.lm.packed_model", "open_packed", "haloquant.lm.packed.reader"),
        ("haloquant.store.library", "read_library", "haloquant.store.cell_libraries"),
        ("haloquant.dvfs.points", "period_for", "haloquant.dvfs.operating_points"),
    ],
)
def test_an_old_name_gives_the_same_object_and_warns(old: str, name: str, new: str) -> None:
    module = importlib.import_module(old)
    with pytest.warns(DeprecationWarning, match=f"{old}.{name} is now {new}.{name}"):
        assert getattr(module, name) is getattr(importlib.import_module(new), name)


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ("haloquant.config", "Recipe"),
        ("haloquant.lm.replace", "find_module"),
        ("haloquant.types", "MacProfile"),
        ("haloquant.pipeline", "run"),
        ("haloquant.pipeline.job", "Job"),
    ],
)
def test_a_star_import_of_an_old_name_gives_the_same_objects_and_warns(old: str, name: str) -> None:
    found: dict[str, object] = {}
    with pytest.warns(DeprecationWarning) as warned:
        exec(f"from {old} import *", found)  # the star form exists only as a statement
    assert any(str(each.message).startswith(f"{old}.{name} is now ") for each in warned)
    assert name in dir(importlib.import_module(old))
    with pytest.warns(DeprecationWarning):
        assert found[name] is getattr(importlib.import_module(old), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        importlib.import_module("haloquant.config").nothing_of_that_name  # noqa: B018


def test_every_old_name_leads_to_a_module_and_old_names_can_be_imported_in_every_way() -> None:
    for old, new in RENAMED.items():
        assert set(dir(importlib.import_module(old))) <= set(dir(importlib.import_module(new)))
    code = """
import warnings
warnings.simplefilter("ignore")
import haloquant
from haloquant.quant import weight
from haloquant.gates.liberty import parse_liberty
import haloquant.pipeline.machines
assert weight.dequantize is haloquant.quant.layer.dequantize
assert haloquant.pipeline.machines.load_shape
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_name_that_moved_elsewhere_says_so() -> None:
    with pytest.raises(
        AttributeError, match=r"^haloquant.dvfs.points is now haloquant.dvfs.operating_points, which has no"
    ):
        importlib.import_module("haloquant.dvfs.points").admissible  # noqa: B018
