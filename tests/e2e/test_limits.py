"""Too little memory and a full disk: a sentence, exit code 7, and no half of a model."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from haloquant.cli.app import invoke
from support.tiny_model import save_llama

# A process of its own, whose limit is set once everything is imported, so that it is the work which meets it.
CODE = """
import resource, sys
from pathlib import Path
import haloquant.cli.models.commands, haloquant.api.models.quantization, haloquant.jobs.quantize.job
import haloquant.lm.checkpoint.reader, haloquant.lm.export.packed, haloquant.lm.model_check
import transformers.models.llama.modeling_llama
from haloquant.cli.app import invoke
room = int(sys.argv[1])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
sys.exit(invoke(["quantize", sys.argv[2], "--out", sys.argv[3], "--calibration", "none", "--goal", "acc-opt", "-q"]))
"""


def quantize_within(room_bytes: int, model: Path, out: Path) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE, str(room_bytes), str(model), str(out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=settings)


def quantize(model: Path, out: Path) -> int:
    return invoke(["quantize", str(model), "--out", str(out), "--calibration", "none", "--goal", "acc-opt", "-q"])


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers of 16 MiB each in float32: small enough to be quick, too large for what the test leaves."""
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("wide") / "model"
    return save_llama(folder, hidden_size=64, intermediate_size=1 << 16, num_hidden_layers=1, dtype="float16")


@pytest.mark.slow
def test_too_little_memory_ends_with_a_sentence(wide_folder: Path, tmp_path: Path) -> None:
    done = quantize_within(24 << 20, wide_folder, tmp_path / "out")
    assert done.returncode == 7, (done.returncode, done.stderr[-2000:])
    assert "error: " in done.stderr and "there is not enough memory; `haloquant quantize --dry-run`" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if mount is None or unmount is None or os.geteuid() != 0:
        pytest.skip("needs root and mount to make a small disk, and one is absent here")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"needs the right to mount a small disk, and has it not: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([unmount, str(folder)], check=True)


def test_a_full_disk_ends_with_a_sentence_and_the_rerun_is_whole(
    small_disk: Path, tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(np.zeros(free - 100_000, np.uint8).tobytes())
    assert quantize(tiny_folder, small_disk / "out") == 7
    said = " ".join(capfd.readouterr().err.split())
    assert "the system refused to read or write: " in said and "No space left on device" in said
    assert "Traceback" not in said
    assert not (small_disk / "out").exists()
    filler.unlink()
    assert quantize(tiny_folder, small_disk / "out") == 0
    assert quantize(tiny_folder, tmp_path / "whole") == 0
    for file in (tmp_path / "whole").iterdir():
        assert (small_disk / "out" / file.name).read_bytes() == file.read_bytes(), file.name
