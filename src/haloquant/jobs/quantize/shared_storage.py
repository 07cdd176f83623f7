"""A packed model on shared storage: made whole on this machine, then uploaded with the manifest last.

An object of such storage appears when it is whole, and a model without its manifest is not one; so a reader finds a
whole model or none. An upload that was stopped goes on with the files that are missing.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
from platformdirs import user_cache_path

from haloquant.errors import InputError
from haloquant.jobs.inputs import Progress
from haloquant.jobs.quantize.checkpoint import Stream
from haloquant.lm.checkpoint.remote import check_url, list_files, put_file
from haloquant.lm.export.model_folder import MANIFEST
from haloquant.store.atomic_files import claim_output, content_key, read_bounded, sha256_file, sole_user, write_bytes

UPLOADED = "uploaded.json"  # name -> SHA-256 of what was sent


def work_folder(url: str) -> Path:
    """Where this machine keeps what is finished of a model for that URL."""
    return user_cache_path("haloquant") / "shared" / content_key(url)[:24]


def to_shared(url: str, work: Path, make: Callable[[Path], Stream], progress: Progress) -> Stream:
    """Have `make` write the model into a folder under `work`, and upload it to `url`.

    Args:
        url: a folder of shared storage; empty, or one that an earlier upload of this very model began.
        work: a folder of this machine for all that a rerun goes on from; gone when the model is whole.
        make: writes a packed model, or goes on with one.
        progress: of the upload too.

    Raises:
        InputError: the URL holds something else.
        BusyError: another run on this machine works on the same.
    """
    url = check_url(url)
    claim_output(work)
    with sole_user(work):
        sent = _sent(work)
        strange = sorted(set(list_files(url)) - set(sent))
        if strange:
            raise InputError(
                f"the output folder {url} must be empty or not exist yet, and it holds {strange[0]}; name another"
            )
        staged = work / "model"
        kept = work / "made.json"
        if not kept.is_file():
            shutil.rmtree(staged, ignore_errors=True)  # killed between its renaming and this note
            write_bytes(kept, msgspec.json.encode(make(staged), enc_hook=str))
        done = msgspec.json.decode(read_bounded(kept, 1 << 20), type=Stream, dec_hook=lambda kind, value: kind(value))
        _upload(staged, url, work, sent, progress)
        shutil.rmtree(staged)
        for file in (kept, work / UPLOADED):
            file.unlink()
    return done


def _upload(staged: Path, url: str, work: Path, sent: dict[str, str], progress: Progress) -> None:
    """Send what is missing; the manifest after everything it names."""
    files = sorted((file for file in staged.iterdir() if file.is_file()), key=lambda f: (f.name == MANIFEST, f.name))
    there = list_files(url)
    for done, file in enumerate(files):
        digest = sha256_file(file)
        if sent.get(file.name) != digest or there.get(file.name) != file.stat().st_size:
            # Noted before it is sent: what a killed upload left is then known to be ours.
            write_bytes(work / UPLOADED, msgspec.json.encode({**sent, file.name: ""}))
            put_file(file, f"{url}/{file.name}")
            sent[file.name] = digest
            write_bytes(work / UPLOADED, msgspec.json.encode(sent))
        progress("upload", done + 1, len(files))


def _sent(work: Path) -> dict[str, str]:
    if not (work / UPLOADED).is_file():
        return {}
    return msgspec.json.decode(read_bounded(work / UPLOADED, 1 << 24), type=dict[str, str])
