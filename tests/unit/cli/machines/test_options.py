"""Commands that share the options about machines: their signature, their defaults, and what they receive."""

import inspect

import typer
from typer.testing import CliRunner

from haloquant.cli.machines.options import MachineOptions, with_machine_options

SEEN: list[tuple[MachineOptions, int]] = []


def _app() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @with_machine_options(without=("prefill",), target="paper_tpu", fast=0.5)
    def study(options: MachineOptions, rows: int = 3) -> None:
        """Study a model."""
        SEEN.append((options, rows))

    return app


def test_a_command_has_the_shared_options_before_its_own_with_its_defaults() -> None:
    SEEN.clear()
    found = CliRunner().invoke(_app(), ["llama2-7b", "--context", "64", "--rows", "7"])
    assert found.exit_code == 0, found.output
    ((options, rows),) = SEEN
    assert options == MachineOptions("llama2-7b", "paper_tpu", "default", 2048, 64, 1, 0.5, False)
    assert rows == 7
    assert options.keywords() == {
        "profile": "default", "prefill_tokens": 2048, "context_tokens": 64, "batch": 1, "fast_share": 0.5,
        "progress": True,
    }  # fmt: skip


def test_an_option_that_a_command_does_not_use_is_unknown_to_it() -> None:
    found = CliRunner().invoke(_app(), ["llama2-7b", "--prefill", "64"])
    assert found.exit_code == 2


def test_the_name_and_the_help_are_the_commands_own() -> None:
    @with_machine_options()
    def study(options: MachineOptions) -> None:
        """Study a model."""

    assert (study.__name__, study.__doc__) == ("study", "Study a model.")
    assert list(inspect.signature(study).parameters)[:2] == ["model", "target"]
