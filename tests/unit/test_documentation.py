"""The pages name only files of the repository and modules of the package that exist."""

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TOP = {path.name for path in ROOT.iterdir()}
# What was before is in CHANGELOG.md and in git. "Earlier" and "before" alone are often places in a model or in time.
_HISTORY = re.compile(
    r"""
    \b(?:now | today | no\ longer | any\ ?more | previously | formerly | aimed\ at | was\ found\ out)\b
    | \b(?:since\ then | changed\ since | (?:it|they|this|that|which|we)\ used\ to)\b
    | \bearlier\ (?:run|figure|form|test|table|demo|version|text|one|measurement|calibration|number|result)s?\b
    | \b(?:than|as|did\ not|those\ of)\ before\b(?!\ (?:a|an|the|it|its|they)\b)
    | \(before\b(?!\ \w+ing)
    | (?:,|\|)\ before\ \|
    | \bpresent\ (?:code|form|version)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
SOURCE = ROOT / "src/haloquant"
PACKAGES = {path.name for path in SOURCE.iterdir() if path.is_dir()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|toml|json|v))`", page.read_text()))
    roots = [(ROOT, TOP), (ROOT / "src/haloquant", PACKAGES)]
    missing = [
        name
        for name in sorted(named)
        if any(name.split("/")[0] in known for _, known in roots)
        and not any((folder / name).exists() for folder, _ in roots)
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_that_a_page_documents_exist(page: Path) -> None:
    for name in re.findall(r"^::: (haloquant[\w.]*)", page.read_text(), re.MULTILINE):
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            try:
                found = importlib.util.find_spec(".".join(parts[:count]))
            except ModuleNotFoundError:
                continue
            if found is not None:
                break
        else:
            pytest.fail(f"{name} does not exist")
        module = importlib.import_module(".".join(parts[:count]))
        assert len(parts) - count <= 1, name
        assert all(hasattr(module, part) for part in parts[count:]), name


def test_stubs_of_packages_name_what_their_modules_define() -> None:
    for stub in sorted((ROOT / "src/haloquant").rglob("__init__.pyi")):
        for module, line in re.findall(r"^from \.([\w.]+) import (.+)$", stub.read_text(), re.MULTILINE):
            source = stub.parent / (module.replace(".", "/") + ".py")
            text = source.read_text()
            for name in re.findall(r"(\w+) as \w+", line):
                assert re.search(rf"^(?:class|def) {name}\b|^{name}\b", text, re.MULTILINE), (stub, name)


def test_entries_have_other_names_than_the_modules_of_their_package() -> None:
    """A re-exported name that equals a module's would be the module as soon as that is imported."""
    for stub in sorted((ROOT / "src/haloquant").rglob("__init__.pyi")):
        entries = set(re.findall(r"^from \S+ import (\w+) as", stub.read_text(), re.MULTILINE))
        modules = {path.stem for path in stub.parent.glob("*.py")} | {
            path.name for path in stub.parent.iterdir() if path.is_dir()
        }
        assert not entries & modules, stub


def test_import_contracts_name_packages_that_exist() -> None:
    """import-linter skips a name that it cannot find in some kinds of contract."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for contract in contracts:
        for name in [*contract.get("source_modules", []), *contract.get("forbidden_modules", [])]:
            if name.startswith("haloquant"):
                place = ROOT / "src" / name.replace(".", "/")
                assert place.is_dir() or place.with_suffix(".py").exists(), name


def said_of_history(text: str) -> list[str]:
    """Return the words of a page that tell what was before, also where a line ends within them."""
    return [match[0] for match in _HISTORY.finditer(re.sub(r"(?<=\S)\n *(?=[a-z(])", " ", text))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_says_what_is_and_not_what_was(page: Path) -> None:
    if page.name != "CHANGELOG.md":
        assert not said_of_history(page.read_text())


@pytest.mark.parametrize(
    "sentence",
    [
        "The 1.5 that was aimed at is met.",
        "It did not before (1.39).",
        "The adder is\n  now a part of its own.",
        "Now the adder is a part of its own.",
        "An earlier run took 3 s.",
        "pass over codes: 51, 24 (before it ran in vectors)",
        "| decode of | instructions per weight, before | registers |",
        "The option no longer exists.",
        "It used to be slower.",
        "The present form was not timed.",
    ],
)
def test_a_sentence_about_the_past_is_found(sentence: str) -> None:
    assert said_of_history(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "Tokens that an earlier block chose are refused.",
        "Nothing that comes later is imported by anything earlier.",
        "Errors are found before any work (before reading a file).",
        "The seed that is used to make windows.",
        "The share is within 0.8 % of what was asked for.",
    ],
)
def test_a_sentence_about_an_order_is_not(sentence: str) -> None:
    assert not said_of_history(sentence)


# The architecture's page describes the top package.
PACKAGES_WITH_PARTS = sorted(init.parent for init in SOURCE.rglob("__init__.py") if init.parent != SOURCE)


@pytest.mark.parametrize("package", PACKAGES_WITH_PARTS, ids=lambda package: str(package.relative_to(SOURCE)))
def test_the_text_of_a_package_names_its_modules(package: Path) -> None:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    inner = [path.stem for path in package.glob("[a-z]*.py")] + [
        path.parent.name for path in package.glob("*/__init__.py")
    ]
    assert not [name for name in inner if not re.search(rf"\b{name}\b", text)]


def test_packages_re_export_their_entries() -> None:
    """Commands, kernels, and what only tests or the modules of one package use, have none."""
    none = re.compile(r"cli|kernels|records$|.*/reference$|eda/crosscheck$|quant/rivals/parts$")
    packages = {init.parent for init in SOURCE.rglob("__init__.py")}
    names = [str(each.relative_to(SOURCE)) for each in packages if not (each / "__init__.pyi").exists()]
    assert not [name for name in names if not none.match(name)]
