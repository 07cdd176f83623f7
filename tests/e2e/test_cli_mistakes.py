"""Every command with bad arguments: it ends with its exit code and a sentence, never with a traceback."""

from pathlib import Path

import pytest
import typer.main

from haloquant.cli.app import app, invoke

COMMANDS = sorted(typer.main.get_command(app).commands)  # pyright: ignore[reportAttributeAccessIssue]

# How each command takes a file or a name: {} is replaced by something bad.
BAD_NAME: dict[str, list[list[str]]] = {
    "characterize": [
        ["-l", "{}"],
        ["--rtl", "{}", "--ports", "{}", "-l", "{}"],
        ["--rtl", "x.v", "--rtl", "{}", "-I", "{}", "--ports", "{}", "-l", "{}"],
        ["--mac", "{}", "-l", "x"],
    ],
    "claims": [["{}"], ["llama2-7b", "--target", "{}"]],
    "codesign": [["{}", "-q", "--out", "out"], ["demo", "--library", "{}", "-q", "--out", "out"]],
    "compare": [["{}", "demo", "-q"], ["demo", "demo", "--text", "{}", "-q"]],
    "deadline": [["{}"], ["llama2-7b", "--profile", "{}"]],
    "early-exit": [
        ["{}", "--entropy", "1", "-q"],
        ["demo", "--entropy", "1", "--text", "{}", "-q"],
        ["demo", "--entropy", "1", "--ms", "1", "--profile", "{}", "-q"],
    ],
    "elements": [["{}"], ["llama2-7b", "--target", "{}"]],
    "evaluate": [["{}", "-q"], ["demo", "--text", "{}", "-q"], ["demo", "--task", "x", "--task-folder", "{}"]],
    "explain": [
        ["{}", "--layer", "x"],
        ["{}", "--attention"],
        ["--weight", "1", "--profile", "{}"],
        ["--weight", "1", "--liberty", "{}"],
    ],
    "explore": [["{}", "-q", "--out", "out"], ["--profile", "{}", "-q", "--out", "out"]],
    "export": [["{}", "--from", "demo", "--out", "out", "-q"], ["demo", "--from", "{}", "--out", "out", "-q"]],
    "gpu": [["{}"], ["llama2-7b", "--target", "{}"]],
    "measure": [["{}", "-q"], ["demo", "--target", "{}", "-q"]],
    "measure-ops": [["{}", "-q"]],
    "paper": [["--figure", "{}", "-q"]],
    "merge-liberty": [["{}", "x.lib", "-o", "y.lib"], ["x.lib", "{}", "-o", "{}"]],
    "partial-sums": [["{}", "-q"], ["demo", "--text", "{}", "-q"]],
    "platforms": [["{}"]],
    "profiles": [["--profile", "{}"]],
    "quantize": [
        ["{}", "--out", "out", "-q"],
        ["demo", "--out", "out", "-q", "--profile", "{}", "--calibration", "none"],
        ["demo", "--out", "out", "-q", "--calibration", "{}"],
        ["{}", "--dry-run"],
        ["demo", "--out", "out", "-q", "--cost", "measured:{}"],
        ["demo", "--out", "out", "-q", "--cost", "{}"],
    ],
    "recover": [
        ["{}", "--teacher", "demo", "--out", "out", "-q"],
        ["demo", "--teacher", "{}", "--out", "out", "-q"],
    ],
    "report": [["{}", "-q"]],
    "run": [
        ["{}", "-q", "--out", "out"],
        ["--model", "{}", "-q", "--out", "out"],
        ["--text", "{}", "--validate"],
        ["--export", "{}", "-q", "--out", "out"],
    ],
    "schedule": [["{}"], ["llama2-7b", "--target", "{}"]],
    "simulate": [["{}"], ["llama2-7b", "--profile", "{}"], ["llama2-7b", "--target", "{}"]],
    "sweep": [["{}"], ["llama2-7b", "--target", "{}"]],
    "targets": [],
    "transfer": [["{}", "-q"], ["{}", "--base", "{}", "-q"]],
    "verify": [["{}"], ["demo", "--profile", "{}"]],
}  # fmt: skip
HUGE = "99999999999999999999999"  # does not fit 64 bits
BAD_NUMBER: dict[str, list[list[str]]] = {
    "measure": [["demo", "--repeats", HUGE], ["demo", "--watts", "1e30"], ["demo", "--pause", "nan"]],
    "measure-ops": [
        ["demo", "--batch", "0"],
        ["demo", "--repeats", "0"],
        ["demo", "--repeats", HUGE],
        ["demo", "--sparse-share", "1.5"],
    ],
    "quantize": [
        ["demo", "--out", "out", "--samples", "-1"],
        ["demo", "--out", "out", "--tile", "0"],
        ["demo", "--out", "out", "--input-sparsity", "1.5"],
        ["demo", "--out", "out", "--input-sparsity", "0.5", "--calibration", "none"],
        ["demo", "--out", "out", "--input-allocation", "divergence"],
        ["demo", "--dry-run", "--input-sparsity", "0.5", "--calibration", "none"],
        ["demo", "--out", "out", "--low-share", "1.5"],
        ["demo", "--out", "out", "--low-bits", "3"],
        ["demo", "--out", "out", "--low-share", "0.5", "--calibration", "none"],
    ],
    "codesign": [
        ["demo", "--area-mm2", "-1", "--out", "out"],
        ["demo", "--max-loss", "nan", "--out", "out"],
        ["demo", "--batch", HUGE, "--out", "out"],
        ["demo", "--tile", HUGE, "--out", "out"],
    ],
    "claims": [["llama2-7b", "--batch", HUGE]],
    "sweep": [["llama2-7b", "--context", HUGE]],
    "elements": [["llama2-7b", "--prefill", HUGE]],
    "schedule": [["llama2-7b", "--prefill", HUGE]],
    "gpu": [["llama2-7b", "--context", HUGE]],
    "explain": [["--weight", "1e30"], ["--weight", "2.5"], ["--weight", "nan"]],
    "simulate": [
        ["llama2-7b", "--prefill", "-1"],
        *(["llama2-7b", f"--{count}", value] for count in ("prefill", "context", "batch") for value in ("2.5", HUGE)),
        ["llama2-7b", "--clock", "own", "--delay-factor", "1e30"],
        ["llama2-7b", "--fast", "nan"],
        ["llama2-7b", "--density", "1.5"],
        ["llama2-7b", "--density", "nan"],
        ["llama2-7b", "--activation-bits", "1"],
        ["llama2-7b", "--low-share", "0.5"],
        ["llama2-7b", "--area-mm2", "1e99"],
    ],
    "deadline": [
        ["llama2-7b", "--ms", "-5"],
        ["llama2-7b", "--ms", "1e30"],
        ["llama2-7b", "--idle", "-1"],
        ["llama2-7b", "--idle", "1e30"],
    ],
    "early-exit": [
        ["demo"],
        ["demo", "--entropy", "0"],
        ["demo", "--entropy", "1e30"],
        ["demo", "--entropy", "1", "--ms", "1", "--context", HUGE],
        ["demo", "--entropy", "1", "--ms", "-1"],
        ["demo", "--entropy", "1", "--target", "tpuv4i_like"],
    ],
    "evaluate": [
        ["demo", "--tokens", "-1"],
        ["demo", "--task", "last-word", "--limit", "-1"],
        ["demo", "--task", "last-word", "--input-sparsity", "0.5"],
        ["demo", "--by-block", "--dense-share", "0.5"],
        ["demo", "-q", "--tokens", "1", "--input-sparsity", "1.5"],
        ["demo", "-q", "--tokens", "1", "--input-sparsity", "nan"],
        ["demo", "-q", "--tokens", "1", "--dense-share", "0.5"],
        ["demo", "-q", "--tokens", "1", "--input-sparsity", "0.5", "--by-block"],
        ["demo", "-q", "--tokens", "1", "--input-allocation", "divergence"],
        ["demo", "-q", "--tokens", "1", "--activations", "mixed"],
        ["demo", "-q", "--tokens", "1", "--low-share", "0.5"],
        ["demo", "--task", "last-word", "--activations", "mixed"],
    ],
    "explore": [["--tile", "0", "--out", "out"], ["--tile", "-8", "--out", "out"], ["--tile", HUGE, "--out", "out"]],
    "profiles": [
        ["--profile", "default", "--period-ps", "-1"],
        ["--profile", "default", "--period-ps", "1e-300"],
        ["--profile", "default", "--words", "x"],
    ],
    "characterize": [["--liberty", "x", "--period-ps", "-1"], ["--liberty", "x", "--period-ps", "1e30"]],
    "recover": [["demo", "--teacher", "demo", "--out", "out", "--steps", "-1"]],
    "run": [["--workers", "0"], ["--workers", HUGE]],
    "transfer": [["packed", "--mbit-s", "0"], ["packed", "--clients", HUGE]],
}
BAD_FILES = ("nothing", "folder", "empty.toml", "empty.safetensors", "empty.txt", "bytes.json", "bytes.lib.gz")
FEW_FILES = ("nothing", "empty.toml", "bytes.json")  # for studies of machines, which all take a model in one place
STUDIES = {"claims", "deadline", "elements", "gpu", "paper", "schedule", "simulate", "sweep"}


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files that are none of what a command wants."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in BAD_FILES[2:]:
        (tmp_path / name).write_bytes(b"" if name.startswith("empty") else bytes(range(256)))
    return tmp_path


def test_every_command_is_tried() -> None:
    assert sorted(BAD_NAME) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_or_name_that_is_none(name: str, bad: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in BAD_NAME[name]:
        for file in FEW_FILES if name in STUDIES else BAD_FILES:
            code = invoke([name, *(part.replace("{}", file) for part in arguments)])
            said = capfd.readouterr().err
            assert code in (2, 4), (arguments, file, code, said)
            assert said and "Traceback" not in said, (arguments, file)
            assert not (bad / "out").exists(), (arguments, file)


@pytest.mark.parametrize("name", sorted(BAD_NUMBER))
def test_a_number_out_of_range(name: str, bad: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in BAD_NUMBER[name]:
        assert invoke([name, *arguments]) in (2, 3), arguments
        said = " ".join(capfd.readouterr().err.split())
        assert said, arguments
        if HUGE in arguments:  # the sentence says what was given
            assert HUGE in said, said
        assert not (bad / "out").exists(), arguments


@pytest.mark.parametrize(
    "arguments",
    [
        ["quantize", "demo", "--calibration", "none", "-q"],
        ["run", "-q"],
        ["explore", "-q"],
        ["simulate", "llama2-7b"],
        ["schedule", "llama2-7b"],
        ["gpu", "llama2-7b"],
        ["paper", "-q"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_output_folder_that_is_a_file_or_holds_something_else(
    arguments: list[str], bad: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (bad / "full").mkdir()
    (bad / "full" / "thesis.tex").write_text("precious")
    for out in ("empty.txt", "full", "empty.txt/below"):
        assert invoke([*arguments, "--out", out]) in (2, 7), out
        said = capfd.readouterr().err
        assert said and "Traceback" not in said
    assert (bad / "full" / "thesis.tex").read_text() == "precious" and (bad / "empty.txt").read_bytes() == b""
