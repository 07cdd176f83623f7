import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save_file

from haloquant.errors import BusyError, InputError
from haloquant.store.atomic_files import (
    atomic_folder,
    check_files,
    claim_output,
    is_finished,
    read_bounded,
    read_manifest,
    safetensors_file,
    sole_user,
    sole_writer,
    write_text,
)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "\ud800")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_read_bounded_refuses_before_reading(tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="must be at most 99 bytes, not 100"):
        read_bounded(file, 99)
    with pytest.raises(InputError, match="must be a file; there is none"):
        read_bounded(tmp_path / "none", 99)


def test_folder_is_finished_only_while_its_bytes_are_whole(tmp_path: Path) -> None:
    folder = tmp_path / "step"
    with atomic_folder(folder, "k") as temporary:
        (temporary / "a").write_text("one")
    assert is_finished(folder, "k")
    assert not is_finished(folder, "other")
    (folder / "a").write_text("two")
    assert not is_finished(folder, "k")


def test_folder_that_failed_is_absent(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "step", "k") as temporary:
        (temporary / "a").write_text("one")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_output_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="must be empty or one that haloquant made"):
        claim_output(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="must be a folder, not the file"):
        claim_output(tmp_path / "file")


def test_second_run_is_refused_and_a_dead_one_leaves_no_stale_lock(tmp_path: Path) -> None:
    claim_output(tmp_path)
    code = (
        "import sys, pathlib, time; from haloquant.store.atomic_files import sole_user\n"
        "with sole_user(pathlib.Path(sys.argv[1])):\n print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=f"another run holds .*process {holder.pid} on"), sole_user(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with sole_user(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".haloquant.lock.owner").read_text()


def test_a_manifest_without_key_names_every_file_and_no_file_outside(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with atomic_folder(folder, made_by={"haloquant": "1"}, manifest_name="halo_manifest.json") as temporary:
        (temporary / "a").write_text("one")
    manifest = read_manifest(folder, "halo_manifest.json")
    assert manifest.key is msgspec.UNSET and list(manifest.files) == ["a"] and manifest.made_by == {"haloquant": "1"}
    assert b'"key"' not in (folder / "halo_manifest.json").read_bytes()
    check_files(folder, manifest)
    outside = msgspec.structs.replace(manifest, files={"../model/a": manifest.files["a"]})
    with pytest.raises(InputError, match=r"must hold \.\./model/a, which manifest\.json names, and it is missing"):
        check_files(folder, outside)
    (folder / "a").write_text("two")
    with pytest.raises(InputError, match=r"must have the SHA-256 \w{12}, not \w{12}: the file is damaged"):
        check_files(folder, manifest)


def test_a_folder_that_is_not_empty_is_replaced_only_on_request(tmp_path: Path) -> None:
    folder = tmp_path / "step"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(OSError), atomic_folder(folder, "k"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["step"]
    with atomic_folder(folder, "k", replace=True):
        pass
    assert is_finished(folder, "k") and not (folder / "old").exists()


def test_a_complete_folder_with_the_same_key_stays_untouched(tmp_path: Path) -> None:
    """Two processes make one step: the second finds the first's folder, which others may read already."""
    folder = tmp_path / "step"
    with atomic_folder(folder, "k", replace=True) as first:
        (first / "a").write_text("first")
        with atomic_folder(folder, "k", replace=True) as second:
            (second / "a").write_text("second")
    assert (folder / "a").read_text() == "second"  # it was complete before the first one was
    (folder / "a").write_text("damaged")
    with atomic_folder(folder, "k", replace=True) as third:
        (third / "a").write_text("third")
    assert (folder / "a").read_text() == "third"
    assert [p.name for p in tmp_path.iterdir()] == ["step"]


def test_a_second_writer_is_refused_and_the_first_may_enter_again(tmp_path: Path) -> None:
    out = tmp_path / "model"
    code = f"""
from pathlib import Path
from haloquant.errors import BusyError
from haloquant.store.atomic_files import sole_writer
try:
    with sole_writer(Path({str(out)!r})):
        print("entered")
except BusyError as error:
    print(error)
"""

    def other_process() -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    with sole_writer(out):
        with sole_writer(out):
            pass
        assert other_process() == f"another run writes {out}; wait for it, or name another folder with --out"
    assert list(tmp_path.iterdir()) == [] and other_process() == "entered"


@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_files_and_folders_have_the_permissions_that_the_umask_allows(
    umask: int, file_mode: int, folder_mode: int, tmp_path: Path
) -> None:
    folder, old = tmp_path / "step", os.umask(umask)
    try:
        with atomic_folder(folder, "k") as temporary:
            (temporary / "inner").mkdir()
            write_text(temporary / "inner" / "text", "x")
            with safetensors_file(temporary / "tensors.safetensors"):
                save_file({"a": np.zeros(3)}, temporary / "tensors.safetensors")
    finally:
        os.umask(old)
    modes = {str(p.relative_to(tmp_path)): stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    folders = {"step", "step/inner"}
    assert modes.keys() == folders | {"step/inner/text", "step/tensors.safetensors", "step/manifest.json"}
    assert modes == {name: folder_mode if name in folders else file_mode for name in modes}


def test_two_runs_may_claim_one_new_folder_at_once(tmp_path: Path) -> None:
    code = "import sys, pathlib; from haloquant.store.atomic_files import claim_output\n"
    code += "for i in range(200): claim_output(pathlib.Path(sys.argv[1]) / str(i))"
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate()[1].decode() for process in both] == ["", ""]
