"""Every package that an installation may bring is named, with why, in the decision on dependencies."""

import re
import tomllib
from pathlib import Path

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
