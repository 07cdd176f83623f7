"""Available memory from files as Linux writes them."""

from pathlib import Path

import pytest

from haloquant.lm.available_memory import available_b


@pytest.fixture
def kernel(tmp_path: Path) -> tuple[Path, Path]:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (groups / "pod/app").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:  900 kB\nMemFree:  10 kB\nMemAvailable:     600 kB\n")
    (proc / "self/cgroup").write_text("0::/pod/app\n")
    return proc, groups


def test_the_cache_of_files_counts_as_available(kernel: tuple[Path, Path]) -> None:
    assert available_b(*kernel) == 600 * 1024


@pytest.mark.parametrize(
    ("folder", "limit", "used", "wanted"),
    [("pod/app", "300000", "100000", 200000), ("pod", "300000", "100000", 200000), (".", "300", "400", 0),
     ("pod/app", "max", "100000", 600 * 1024), ("pod/app", "9000000", "1", 600 * 1024)],
)  # fmt: skip
def test_a_container_takes_less(kernel: tuple[Path, Path], folder: str, limit: str, used: str, wanted: int) -> None:
    place = kernel[1] / folder
    (place / "memory.max").write_text(limit + "\n")
    (place / "memory.current").write_text(used + "\n")
    assert available_b(*kernel) == wanted


def test_without_these_files_it_is_the_free_memory(tmp_path: Path) -> None:
    assert 0 < available_b(tmp_path, tmp_path) < 1 << 50
    assert available_b() > 0
