"""Write a packed model to shared storage: it is made on this machine first, then uploaded with the manifest last.

An object of such storage becomes visible only when it is complete, and a model without its manifest is not valid. So a
reader finds a complete model or none. An upload that was stopped continues with the missing files.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
from platformdirs import user_cache_path

from haloquant.errors import InputError
from haloquant.jobs.inputs import Progress
from haloquant.jobs.quantize.job import QuantizationResult
from haloquant.lm.checkpoint.remote import check_url, list_files, put_file
from haloquant.lm.export.model_folder import MANIFEST
from haloquant.store.atomic_files import claim_output, content_key, read_bounded, sha256_file, sole_user, write_bytes

UPLOADED = "uploaded.json"  # maps the name of each sent file to its SHA-256


def work_folder(url: str) -> Path:
    """Return the folder of this machine that holds the finished parts of a model for that URL."""
    return user_cache_path("haloquant") / "shared" / content_key(url)[:24]


def upload_model(
    url: str,
    work: Path,
    make: Callable[[Path], QuantizationResult],
    key: Callable[[], str],
    progress: Progress,
) -> QuantizationResult:
    """Make a model in a folder under `work` and upload it to `url`.

    Args:
        url: A folder of shared storage; empty, or one that an earlier upload of this same model began.
        work: A folder of this machine for all that a rerun continues from. The model's files in it are removed when the
            upload is complete.
        make: Writes a packed model to a folder, or continues with one.
        key: Returns the hash of everything that the model depends on (`model_key`). It is called if a model
            waits in the work folder, to see whether it is this one.
        progress: Progress of the upload.

    Raises:
        InputError: The URL holds other files, or an upload of another model was begun there.
        BusyError: Another run on this machine works on the same model.
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
        result_file = work / "made.json"
        model = _read_result(result_file)
        if model is not None and model.key != key():
            if sent:
                raise InputError(
                    f"the upload that was begun to {url} must be finished with the same model and settings, and these "
                    f"are others; repeat that command, or remove {work} and the files at {url}"
                )
            model = None
        if model is None:
            shutil.rmtree(staged, ignore_errors=True)  # of another model, or of a run that was killed
            result_file.unlink(missing_ok=True)
            model = make(staged)
            write_bytes(result_file, msgspec.json.encode(model, enc_hook=str))
        _upload(staged, url, work, sent, progress)
        shutil.rmtree(staged)
        for file in (result_file, work / UPLOADED):
            file.unlink()
    return model


def _upload(staged: Path, url: str, work: Path, sent: dict[str, str], progress: Progress) -> None:
    """Send the missing files; the manifest comes last, after all files that it names."""
    files = sorted((file for file in staged.iterdir() if file.is_file()), key=lambda f: (f.name == MANIFEST, f.name))
    there = list_files(url)
    for done, file in enumerate(files):
        digest = sha256_file(file)
        if sent.get(file.name) != digest or there.get(file.name) != file.stat().st_size:
            # The name is noted before the file is sent, so that a rerun knows that a part at the URL is ours.
            write_bytes(work / UPLOADED, msgspec.json.encode({**sent, file.name: ""}))
            put_file(file, f"{url}/{file.name}")
            sent[file.name] = digest
            write_bytes(work / UPLOADED, msgspec.json.encode(sent))
        progress("upload", done + 1, len(files))


def _read_result(file: Path) -> QuantizationResult | None:
    """Return the result of the model that waits for its upload, or None if there is none."""
    if not file.is_file():
        return None
    stored = read_bounded(file, 1 << 20)
    return msgspec.json.decode(stored, type=QuantizationResult, dec_hook=lambda kind, value: kind(value))


def _sent(work: Path) -> dict[str, str]:
    """Return the names and SHA-256 of the files that were sent already."""
    if not (work / UPLOADED).is_file():
        return {}
    return msgspec.json.decode(read_bounded(work / UPLOADED, 1 << 24), type=dict[str, str])
