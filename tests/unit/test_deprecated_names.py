"""Old public names still work, and say their new name."""

import importlib
import re
import subprocess
import sys

import pytest

from haloquant.deprecated_names import GONE, MOVED, RENAMED


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
        ("haloquant.gates.ports", "MacPorts", "haloquant.circuits.ports"),
        ("haloquant.accel.simulate", "simulate", "haloquant.accel.simulation"),
        ("haloquant.accel.baselines", "uniform_system", "haloquant.accel.rival_systems"),
        ("haloquant.eda.opensta", "case_delays", "haloquant.eda.crosscheck.opensta"),
        ("haloquant.lm.perplexity", "perplexity", "haloquant.lm.evaluation.perplexity"),
        ("haloquant.quant.allocate", "sweep", "haloquant.quant.allocation"),
        ("haloquant.quant.compensate", "compensate", "haloquant.quant.rounding.compensation"),
        ("haloquant.quant.packing", "pack", "haloquant.quant.format.packing"),
        ("haloquant.quant.scales", "search", "haloquant.quant.rounding.scale_search"),
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
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    from haloquant.dvfs.points import admissible, period_for
    from haloquant.quant.tiles import layer_tiles
assert {each.filename for each in warned} == {"<string>"}, warned  # the importing line, not our own
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_function_that_moved_is_imported_from_its_old_place_and_warns(old: str, new: str) -> None:
    module, _, name = old.rpartition(".")
    new_module, _, new_name = new.rpartition(".")
    found: dict[str, object] = {}
    with pytest.warns(DeprecationWarning, match=f"^{old} is now {new}; the old name goes in version 0.3$"):
        exec(f"from {module} import {name}", found)
    assert found[name] is getattr(importlib.import_module(new_module), new_name)


@pytest.mark.parametrize("old", GONE)
def test_a_name_that_is_gone_says_what_to_use_instead(old: str) -> None:
    module, _, name = old.rpartition(".")
    with pytest.raises(ImportError, match="^" + re.escape(f"{old} is gone since version 0.2: {GONE[old]}") + "$"):
        exec(f"from {module} import {name}")
    for named in re.findall(r"haloquant(?:\.\w+)+", GONE[old]):
        place, _, attribute = named.rpartition(".")
        assert hasattr(importlib.import_module(place), attribute), named


def test_an_attribute_that_is_gone_says_what_to_use_instead() -> None:
    with pytest.raises(AttributeError, match=r"^haloquant.quant.weight.result is gone since .*dequantize"):
        importlib.import_module("haloquant.quant.weight").result  # noqa: B018


def test_any_other_name_of_an_old_module_says_where_the_module_is() -> None:
    sentence = r"^haloquant.dvfs.points is now haloquant.dvfs.operating_points, which has no 'slowest_of'"
    with pytest.raises(ImportError, match=sentence):
        exec("from haloquant.dvfs.points import slowest_of")
    with pytest.raises(AttributeError, match=sentence):
        importlib.import_module("haloquant.dvfs.points").slowest_of  # noqa: B018


def test_a_module_with_moved_functions_has_no_other_attributes() -> None:
    with pytest.raises(ImportError, match=r"cannot import name 'nothing_of_that_name' from 'haloquant.quant.tiles'"):
        exec("from haloquant.quant.tiles import nothing_of_that_name")
