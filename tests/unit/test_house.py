"""Unit tests stand where the source stands: tests/unit/<package>/test_<module>.py."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

from grimp import build_graph

TESTS = Path(__file__).resolve().parents[1]
SOURCE = TESTS.parent / "src/haloquant"
LINES = 20  # lines within functions, docstrings aside, from which a module needs a test file of its own


def _modules_of(package: str, test: str, modules: str) -> dict[str, str]:
    """Some modules of a package that one file tests."""
    return {f"{package}/{module}": test for module in modules.split()}


# Modules that are tested elsewhere: the file that tests them.
ELSEWHERE = {
    # Inner parts of a stage. The whole stage is compared with a slow twin, or with numbers worked by hand.
    "accel/cost_model/group_cost": "property/test_accel_twin.py",
    "circuits/simulation/annotation": "unit/circuits/simulation/test_value_table.py",
    "circuits/simulation/engine": "property/test_simulate_twin.py",
    "circuits/simulation/waveforms": "property/test_simulate_twin.py",
    "circuits/timing/path_report": "golden/test_timing_by_hand.py",
    "circuits/timing/propagation": "unit/circuits/timing/test_single_value.py",
    "kernels/cpu/column_instructions": "unit/kernels/cpu/test_column_products.py",
    "kernels/cpu/tile_instructions": "crosscheck/test_emulated_kernels.py",
    "kernels/cpu/vector_instructions": "unit/kernels/cpu/test_gemv.py",
    "kernels/cpu/vector_operations": "crosscheck/test_emulated_kernels.py",
    **_modules_of(
        "kernels/triton",
        "unit/kernels/triton/test_launch.py",
        "activation_digits dequantization gemm gemv",
    ),
    # The other engine is the judge.
    **_modules_of(
        "kernels/rounding",
        "unit/kernels/rounding/test_torch_layer.py",
        "compensation factorization memory refinement row_band scale_search shared_hessian sparse_search word_tensors",
    ),
    "kernels/device_errors": "unit/kernels/rounding/test_torch_layer.py",
    "quant/rounding/layer_rounder": "unit/kernels/rounding/test_torch_layer.py",
    "jobs/quantize/forecast/device_room": "e2e/test_torch_rounding.py",
    # Another program is the judge.
    **_modules_of(
        "eda/crosscheck",
        "crosscheck/test_opensta.py",
        "array_feed icarus opensta verilog_array",
    ),
    **_modules_of(
        "lm/calibration",
        "crosscheck/test_lm_calibration.py",
        """
        attention_hessian by_block empty_model expert_stand_ins in_memory shards
        statistics_file value_hessian
        """,
    ),
    "lm/checkpoint/architectures": "crosscheck/test_lm_architectures.py",
    **_modules_of(
        "lm/checkpoint/gguf",
        "crosscheck/test_lm_gguf.py",
        "config layout metadata_file names",
    ),
    "lm/evaluation/lm_eval_tasks": "crosscheck/test_lm_tasks.py",
    "lm/evaluation/partial_sums": "crosscheck/test_lm_partial_sums.py",
    "lm/evaluation/negative_sums": "crosscheck/test_lm_negative_sums.py",
    "lm/integrations/vllm": "crosscheck/test_vllm_interface.py",
    **dict.fromkeys(
        ("jobs/machines/model_layers", "lm/experts", "lm/model_check", "lm/tensor_names"),
        "crosscheck/test_lm_families.py",
    ),
    **_modules_of("jobs/codesign", "e2e/test_codesign_command.py", "job result_files search_result word_losses"),
    **dict.fromkeys(
        ("api/machines/design_search", "cli/machines/codesign", "report/charts/codesign"),
        "e2e/test_codesign_command.py",
    ),
    "lm/torch_model": "crosscheck/test_lm_architectures.py",
    "lm/packed/loading": "e2e/test_hf.py",
    # Commands and the steps of whole jobs: what they write and print is compared.
    **_modules_of("cli", "e2e/test_cli.py", "app jobs paper tile_explanation"),
    **_modules_of("cli/machines", "e2e/test_cli.py", "new_silicon simulation studies"),
    **_modules_of("cli/macs", "e2e/test_cli.py", "circuits profiles"),
    **_modules_of("cli/models", "e2e/test_cli.py", "commands evaluation"),
    **_modules_of("api/machines", "e2e/test_machine_files.py", "result_files result_tables"),
    "cli/models/recovery": "e2e/test_recover.py",
    "cli/models/measurement": "e2e/test_measurement.py",
    "api/models/measurement": "e2e/test_measurement.py",
    **_modules_of("api/models", "unit/api/models/test_quantization.py", "quantization_checks quantization_forecast"),
    "cli/models/transfer": "e2e/test_measurement.py",
    **_modules_of(
        "jobs/compare",
        "e2e/test_engine_run.py",
        "gpu_results job job_steps method_files method_steps method_tasks result_rows results rival_tasks",
    ),
    **_modules_of("jobs/compare", "e2e/test_rival_rows.py", "rival_export rival_layers"),
    "jobs/paper/model_table": "e2e/test_paper_command.py",
    "jobs/paper/report": "e2e/test_paper_command.py",
    "jobs/engine/local_pool": "e2e/test_engine.py",
    "jobs/engine/ray_cluster": "e2e/test_engine.py",
    "api/explanations": "e2e/test_explain.py",
    "api/macs/profiles": "e2e/test_profiles_command.py",
    **dict.fromkeys(
        ("api/models/exit_evaluation", "cli/models/early_exit", "jobs/early_exit/losses", "jobs/early_exit/sentences"),
        "e2e/test_early_exit.py",
    ),
    "jobs/evaluation": "e2e/test_cli.py",
    "jobs/input_sparsity": "e2e/test_input_sparsity.py",
    "jobs/mixed_activations": "e2e/test_mixed_activations.py",
    "jobs/explain_tiles": "e2e/test_explain.py",
    **_modules_of(
        "jobs/quantize",
        "e2e/test_engine_layers.py",
        "checkpoint_passes forecast/machine_rates layer_tasks shared_storage task_runner transform",
    ),
    "jobs/recipe_checks": "e2e/test_recipe_checks.py",
    "lm/integrations/transformers": "e2e/test_hf.py",
    # Pages and pictures: a browser draws them, or the job that writes them is run.
    **_modules_of(
        "report",
        "e2e/test_report.py",
        """
        charts/circuits charts/exploration charts/job charts/machines charts/paper charts/policies
        charts/sweeps gpu_table markdown page paper/markdown tables warnings
        """,
    ),
}


def _lines_of_behaviour(module: Path) -> int:
    """The lines of the bodies of all functions, without their docstrings."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            for statement in body:
                lines.update(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    return len(lines)


def _test_of(module: Path) -> Path:
    return TESTS / "unit" / module.relative_to(SOURCE).parent / f"test_{module.name}"


def _elsewhere(module: Path) -> bool:
    place = module.relative_to(SOURCE).with_suffix("")
    return place.as_posix() in ELSEWHERE


def _modules() -> list[Path]:
    return [
        path
        for path in sorted(SOURCE.rglob("*.py"))
        if path.name != "__init__.py" and not {"reference", "data"} & set(path.relative_to(SOURCE).parts)
    ]


def test_every_module_has_its_test_file_or_a_file_that_tests_it_elsewhere() -> None:
    missing = [
        path.relative_to(SOURCE).as_posix()
        for path in _modules()
        if not _test_of(path).exists() and not _elsewhere(path) and _lines_of_behaviour(path) > LINES
    ]
    assert not missing, "write tests/unit/<package>/test_<module>.py, or name in ELSEWHERE the file that tests it"


def test_every_unit_test_file_is_of_a_module() -> None:
    without = [
        path.relative_to(TESTS).as_posix()
        for path in sorted((TESTS / "unit").rglob("test_*.py"))
        if (folder := path.parent.relative_to(TESTS / "unit")).parts
        and folder.parts[0] not in ("bench", "support")
        and not (SOURCE / folder / path.name.removeprefix("test_")).exists()
    ]
    assert without == ["unit/api/test_import.py"]  # of the package itself


def test_what_is_tested_elsewhere_exists_and_has_no_file_of_its_own() -> None:
    for place, test in ELSEWHERE.items():
        assert (TESTS / test).is_file(), test
        module = (SOURCE / place).with_suffix(".py")
        assert module.is_file() and not _test_of(module).exists(), place


def test_no_module_needs_itself() -> None:
    """No circle of imports, those inside functions included: what a module needs is there before it."""
    graph = build_graph("haloquant", exclude_type_checking_imports=True)
    needs = {name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}
    TopologicalSorter(needs).prepare()  # raises a CycleError that names the circle


def test_no_folder_holds_more_than_fifteen_modules() -> None:
    folders = Counter(path.parent.relative_to(SOURCE).as_posix() for path in _modules())
    assert max(folders.values()) <= 15, {name: count for name, count in folders.items() if count > 15}
