"""Steps of a job whose results are reused. The hash of a step's inputs names its folder."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePath

from haloquant.errors import InputError
from haloquant.store.atomic_files import atomic_folder, content_key, is_finished
from haloquant.store.temporary_paths import remove_folder, remove_leftovers

STEP_VERSION = "2"  # version of the layout of a step's folder


class Steps:
    """The step folders of one output folder. Each is `<root>/<name>-<first 12 digits of the hash of its inputs>/`."""

    def __init__(self, root: Path, versions: Mapping[str, str]) -> None:
        self.root = root
        self.versions = dict(versions)

    def key(self, name: str, inputs: object) -> str:
        """Return the hash of a step's name, its inputs and the software versions that could change its result."""
        return content_key(STEP_VERSION, self.versions, name, inputs)

    def run(self, name: str, inputs: object, make: Callable[[Path], None]) -> tuple[Path, bool]:
        """Return the step's folder and whether it was reused. If it does not exist, `make` fills a temporary folder.

        An interruption leaves either no folder or a complete one, because the manifest is written last and the folder
        is renamed after that. If two processes make the same step at once, both get the folder of the first.

        Raises:
            InputError: The name is not that of a folder directly in the output folder.
        """
        folder, key = self._place(name, inputs)
        if is_finished(folder, key):
            return folder, True
        remove_leftovers(folder)
        with atomic_folder(folder, key, {"step": name, **self.versions}, replace=True) as temporary:
            make(temporary)
        return folder, False

    def find(self, name: str, inputs: object) -> Path | None:
        """Return the step's folder if it is finished, else None.

        Raises:
            InputError: The name is not that of a folder directly in the output folder.
        """
        folder, key = self._place(name, inputs)
        return folder if is_finished(folder, key) else None

    def forget(self, name: str, inputs: object) -> None:
        """Remove the step's folder, if there is one."""
        folder, _ = self._place(name, inputs)
        remove_folder(folder)

    def _place(self, name: str, inputs: object) -> tuple[Path, str]:
        if PurePath(name).name != name:
            raise InputError(f"a step's name must be that of a folder in {self.root}, not {name!r:.80}")
        key = self.key(name, inputs)
        return self.root / f"{name}-{key[:12]}", key
