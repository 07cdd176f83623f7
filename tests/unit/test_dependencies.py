"""Every package that an installation may bring is named, with why, in the decision on dependencies."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]


def names(requirements: list[str]) -> set[str]:
    found = {re.split(r"[\[<>=!~; ]", text)[0].lower() for text in requirements}
    return found - {"haloquant"}


def test_every_dependency_is_named_with_why() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = names(project["project"]["dependencies"]) | names(project["build-system"]["requires"])
    for extra in project["project"]["optional-dependencies"].values():
        wanted |= names(extra)
    rows = [line.split("|") for line in (ROOT / "docs/decisions/0002-dependencies.md").read_text().splitlines()]
    named = {
        name.strip().lower(): cells[3].strip() for cells in rows if len(cells) == 5 for name in cells[1].split(",")
    }
    assert not wanted - set(named)
    assert all(len(named[name]) > 10 for name in wanted)


def test_every_pinned_release_runs_on_the_first_python_that_is_named() -> None:
    """Debian 12 has Python 3.11.2, and pip refuses a pin whose release asks for a later one."""
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    pins = names((ROOT / "constraints.txt").read_text().splitlines())
    asked = {package.name.lower(): package.metadata["Requires-Python"] for package in metadata.distributions()}
    late = {
        name for name, range_ in asked.items() if name in pins and range_ and f"{least}.0" not in SpecifierSet(range_)
    }
    assert not late
    assert len(pins & set(asked)) > 50
