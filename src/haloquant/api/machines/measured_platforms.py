"""What others measured on a device, from the package's files or a user's. It needs no torch."""

from pathlib import Path

from haloquant.accel.platforms import Platform
from haloquant.api.arguments import path_text
from haloquant.store.platforms import read_platform, shipped_platforms


def platforms(*files: str | Path) -> tuple[Platform, ...]:
    """Return measured platforms: those that come with the package, or those in files.

    Args:
        files: TOML files; none for the shipped ones.

    Raises:
        TargetError: A file is missing or malformed. (An InputError.)

    Example:
        ```python
        from haloquant.accel.platforms import predict
        from haloquant.api import platforms

        for platform in platforms():
            for row in predict(platform):
                print(row.row.model, row.row.format, row.row.tok_s, row.predicted_tok_s)
        ```
    """
    return tuple(read_platform(path_text("file", name)) for name in files or shipped_platforms())
