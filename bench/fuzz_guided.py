"""Fuzz one file reader with atheris (libFuzzer), guided by coverage: inputs that reach new lines are kept.

    pip install 'haloquant[nightly]'
    python bench/fuzz_guided.py "recipe" -runs=100000 -max_len=8192 [CORPUS_FOLDER ...]

`bench/fuzz_readers.py` lists the readers and the errors that they may raise. The corpus starts with undamaged inputs.
Any other error, or an error without a message, ends the run with a traceback, and libFuzzer saves the input (crash-...,
timeout-... or oom-...). Modules with compiled loops are not instrumented, because Numba reads their bytecode.
"""

import sys
import tempfile
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports]

sys.path.insert(0, str(Path(__file__).resolve().parent))

PACKAGE = Path(__file__).resolve().parents[1] / "src"
COMPILED = [
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
    for file in PACKAGE.rglob("*.py")
    if "njit" in file.read_text()
]

with atheris.instrument_imports(include=["haloquant", "tomllib"], exclude=COMPILED):
    from fuzz_readers import READERS

from haloquant.errors import HaloquantError  # noqa: E402


def main() -> None:
    """Fuzz the reader that the first argument names; pass all further arguments to libFuzzer."""
    known = {reader.name: reader for reader in READERS}
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        sys.exit(f"the reader must be one of {', '.join(known)}")
    reader = known[sys.argv[1]]
    corpus = tempfile.mkdtemp(prefix="haloquant-corpus-")
    for number, seed in enumerate(reader.seeds()):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
        reader.read(seed)  # compiled before anything is timed

    def one(data: bytes) -> None:
        try:
            reader.read(data)
        except reader.error as error:
            if isinstance(error, HaloquantError) and not str(error).strip():
                raise AssertionError("an error without a sentence") from error

    options = [argument for argument in sys.argv[2:] if argument.startswith("-")]
    folders = [argument for argument in sys.argv[2:] if not argument.startswith("-")]
    limits = ["-timeout=5", "-rss_limit_mb=2048"]
    atheris.Setup([sys.argv[0], *limits, *options, *folders, corpus], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
