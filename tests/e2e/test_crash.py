"""Killed at any moment, a quantization ends byte-identical to one that was left alone."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

RUNNER = Path(__file__).with_name("crash_runner.py")
KILLS = int(os.environ.get("HALOQUANT_TEST_KILLS", "50"))


def test_killed_fifty_times_it_ends_with_the_same_bytes(tiny_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(RUNNER), str(tiny_folder), str(tmp_path), str(KILLS), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["hit"] == KILLS
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())
    for file in whole.iterdir():
        assert (killed / file.name).read_bytes() == file.read_bytes(), file.name
    # Nothing of the work is left beside a whole model, and no temporary name of any kind.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed", "whole"]


def run_limited(code: str, limit_b: int) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_b, limit_b))

    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, preexec_fn=limit)


def test_a_file_that_cannot_grow_leaves_no_half_model(tiny_folder: Path, tmp_path: Path) -> None:
    """A limit on file size fails a write just as a full disk does: EFBIG instead of ENOSPC, in the same place."""
    out = tmp_path / "out"
    code = (
        "import signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from haloquant.cli.app import invoke\n"
        f"sys.exit(invoke(['quantize', {str(tiny_folder)!r}, '--out', {str(out)!r}, '--calibration', 'none', '-q']))"
    )
    done = run_limited(code, 20_000)
    assert done.returncode == 7, done.stderr
    assert "the system refused to read or write: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    assert run_limited(code, 1 << 30).returncode == 0
    assert (out / "config.json").is_file()
