"""Old name of `haloquant.jobs.compare.job`. It works for one version, with a DeprecationWarning."""

from typing import Any

from haloquant.deprecated_names import attribute_of, names_of


def __getattr__(name: str) -> Any:
    return attribute_of("haloquant.pipeline", "haloquant.jobs.compare.job", name)


def __dir__() -> list[str]:
    return names_of("haloquant.jobs.compare.job")
