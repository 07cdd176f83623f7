"""Old name of `haloquant.lm.swap_weights`. It works for one version, with a DeprecationWarning."""

from typing import Any

from haloquant.deprecated_names import attribute_of, names_of


def __getattr__(name: str) -> Any:
    return attribute_of("haloquant.lm.replace", "haloquant.lm.swap_weights", name)


def __dir__() -> list[str]:
    return names_of("haloquant.lm.swap_weights")
