"""Run every command of the documentation, in a full and in a core installation.

    python scripts/documented_commands.py --full FOLDER_OF_BIN --core FOLDER_OF_BIN [--only TEXT] [--keep FOLDER]

Commands are the lines of ```bash, ```console and ```sh blocks. In the full installation each must end with exit code 0.
In the core installation, which has no extras, each must end so too, or name the extra that it needs in one sentence
(exit code 5), or find a program missing (4). Neither may show a traceback. `NOT_RUN` lists the commands that are left
out, with why. Files that commands read are made first: a tiny model, a text, a MAC, a cell library and a recipe.
"""

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "docs/start.md", "docs/bring-your-own.md")  # first, in this order

# Commands that are not run, by a pattern of their text: in which installation, and why.
BOTH = ("full", "core")
NOT_RUN: dict[str, tuple[tuple[str, ...], str]] = {
    r"^git clone": (BOTH, "needs the network"),
    r"^bash scripts/(demo|test)": (BOTH, "continuous integration runs it by itself"),
    r"^pip install": (BOTH, "would change the installation"),
    r"\.gguf ": (BOTH, "needs a file of another project; tests/e2e quantize GGUF files made there"),
    r"^(OMP_NUM_THREADS=1 )?python bench/": (BOTH, "minutes to hours of measurement in a checkout"),
    r"^scripts/nightly": (BOTH, "an hour of damaged inputs"),
    r"(s3|hf)://": (("full",), "needs the network"),
    r"ray=HOST": (("full",), "needs a cluster of that name"),
    r"^haloquant run recipe.toml --out": (("full",), "minutes; .ci/run runs the same recipe from the wheel"),
    r"^haloquant characterize .*(cells.lib.gz|sums.json)$": (("full",), "a minute; the same with --period-ps is run"),
    r"^haloquant quantize MODEL --out OUT --workers 8$": (("full",), "eight processes; tests/e2e quantize with pools"),
    r"--against my.profile.json": (BOTH, "needs an element of your own; tests of simulate run the option"),
    r"^haloquant characterize .* --search": (("full",), "minutes; tests/unit/jobs/mac search a mapping"),
    r"^haloquant paper --model": (("full",), "minutes; tests/e2e/test_paper_command.py makes its rows of a tiny model"),
    r"^haloquant explore": (("full",), "minutes; tests/e2e/test_cli.py runs it on a tiny model"),
    r"^haloquant codesign": (("full",), "minutes; tests/e2e/test_codesign_command.py searches for a tiny model"),
    r"--cost measured:": (("core",), "needs a table of measure-ops, which needs torch"),
    r"^haloquant transfer": (BOTH, "needs two packed models; tests/e2e/test_measurement.py runs it"),
    r"^haloquant early-exit": (("full",), "minutes; tests/e2e/test_early_exit.py runs it on a tiny model"),
    r"codesigned/designs": (BOTH, "needs the designs of a search; tests/e2e/test_codesign_command.py runs one"),
}  # fmt: skip

MAC = """
module mac(
  input signed [7:0] weight, input signed [7:0] activation, input signed [23:0] partial, output signed [23:0] result
);
  assign result = weight * activation + partial;
endmodule
"""
RECIPE = """
[model]
path = "path/to/model"
[text]
calibration = "text.txt"
evaluation = "text.txt"
calibration_tokens = 128
evaluation_tokens = 128
[hardware]
targets = ["edge_lpddr5x"]
gpus = []
[quantize]
goals = ["bal"]
rivals = []
sweep = []
[workload]
prefill_tokens = 8
decode_context = 8
"""
WORDS = "the ship went out upon the water and the keeper saw her light , but she was gone before the morning . "


@dataclass(frozen=True)
class Command:
    """A documented command, and the page and line where it stands."""

    text: str
    page: str
    line: int

    def left_out(self, where: str) -> str:
        """Return why the command is not run in an installation; empty if it is run."""
        return next(
            (why for text, (places, why) in NOT_RUN.items() if where in places and re.search(text, self.text)), ""
        )


def commands() -> list[Command]:
    """Return every documented command once, page by page."""
    pages = [ROOT / name for name in PAGES]
    pages += sorted(page for page in (ROOT / "docs").rglob("*.md") if page not in pages)
    found: dict[str, Command] = {}
    for page in pages:
        for line, text in _shell_lines(page.read_text()):
            found.setdefault(text, Command(text, str(page.relative_to(ROOT)), line))
    return list(found.values())


def _shell_lines(page: str) -> Iterator[tuple[int, str]]:
    """Yield the number and text of every command in the shell blocks of a page, without its comment."""
    inside, begun = False, ""
    for number, line in enumerate(page.splitlines(), 1):
        if line.strip().startswith("```"):
            inside = not inside and line.strip()[3:] in ("bash", "console", "sh")
            continue
        text = re.sub(r"(^|\s)#( .*)?$", "", line).strip().removeprefix("$ ")
        if not inside or not text:
            continue
        begun += text.removesuffix("\\")
        if not text.endswith("\\"):
            yield number, begun
            begun = ""


def make_files(folder: Path, full: Path) -> None:
    """Write what commands read: a tiny model, texts, a MAC, a cell library, a machine, a finished run."""
    make = "from pathlib import Path; from support.tiny_model import save_tiny; save_tiny(Path('path/to/model'))"
    settings = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    subprocess.run([str(full / "python"), "-c", make], cwd=folder, env=settings, check=True, capture_output=True)
    for name in ("MODEL", "MODEL_FOLDER"):
        shutil.copytree(folder / "path/to/model", folder / name)
    for name in ("text.txt", "my-text.txt"):
        (folder / name).write_text(WORDS * 12)
    (folder / "mac.v").write_text(MAC)
    (folder / "mac.toml").write_text("weight_bits = 8\n")
    library = (ROOT / "tests/data/liberty").rglob("*.lib.gz")
    data = next(iter(sorted(library))).read_bytes()
    for name in ("cells.lib.gz", "cells_tt.lib.gz"):
        (folder / name).write_bytes(data)
    (folder / "cells.lib").write_bytes(gzip.decompress(data))
    shutil.copy(ROOT / "src/haloquant/data/targets/edge_lpddr5x.toml", folder / "my-chip.toml")
    shutil.copy(ROOT / "src/haloquant/data/profiles/demo.partial-sums.json", folder / "my.partial-sums.json")
    (folder / "small.toml").write_text(RECIPE)
    run(Command("haloquant run small.toml --out out/demo --quiet", "", 0), folder, full)


def run(command: Command, folder: Path, binaries: Path) -> tuple[int, str]:
    """Run a command in a shell, with the programs of an installation first; return its exit code and what it said."""
    settings = os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-c", command.text], cwd=folder, env=settings, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def judge(code: int, said: str, where: str) -> str:
    """Return what is wrong with the end of a command; empty if nothing is."""
    if "Traceback" in said:
        return "shows a traceback"
    if code == 0 or (where == "core" and code == 4):
        return ""
    if where == "core" and code == 5:
        return "" if re.search(r"pip install '?haloquant\[\w+\]", said) else "names no extra"
    return f"ends with exit code {code}"


def main() -> int:
    """Run all commands; return 1 if one of them ended wrongly."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--full", type=Path, required=True, help="folder of programs of the full installation")
    options.add_argument("--core", type=Path, help="folder of programs of the core installation")
    options.add_argument("--only", default="", help="run only commands with this text")
    options.add_argument("--keep", type=Path, help="work in this folder and keep it")
    given = options.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary) / "work"
        folder.mkdir(parents=True, exist_ok=True)
        make_files(folder, given.full.resolve())
        for where, binaries in (("full", given.full), ("core", given.core)):
            for command in commands() if binaries else ():
                why = command.left_out(where)
                if why or given.only not in command.text:
                    if why and not given.only:
                        print(f"{where}  not run: {command.text}  ({why})")
                    continue
                begin = time.monotonic()
                code, said = run(command, folder, binaries.resolve())
                problem = judge(code, said, where)
                wrong += bool(problem)
                print(f"{where}  {time.monotonic() - begin:5.1f} s  exit {code}  {command.text}", flush=True)
                if problem:
                    print(f"  WRONG: {command.page}:{command.line} {problem}:\n{said[-2000:]}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
