"""Merge the files of one cell library at one corner, as ASAP7 is distributed, into one Liberty text."""

from collections.abc import Iterable

from haloquant.circuits.liberty.syntax import Group, SourceText, read_groups, unquote
from haloquant.errors import LibertyError

# A condition or a wire load model that the first file also has is left out: a cell does not depend on it.
_OF_THE_FILE = frozenset({"comment", "date", "revision"})
_OF_THE_FIRST = frozenset({"operating_conditions", "wire_load", "wire_load_selection"})


def merge_libraries(files: Iterable[tuple[str, str]]) -> str:
    """Return one Liberty text with the cells of several, whose headers must agree.

    The text is that of the first file, with the cells and table templates of the others before its last brace.

    Args:
        files: name and text of each file.

    Raises:
        LibertyError: There are not two files, a text is malformed, a cell stands in two of them, two headers differ
            in a unit, a threshold, a default or the operating condition, or a template of one name differs. Cells are
            stated in these, so they cannot be put together.
    """
    sources = [SourceText(name, text) for name, text in files]
    if len(sources) < 2:
        raise LibertyError("merging must be given at least two files of one library")
    libraries = [read_groups(source) for source in sources]
    first, named = libraries[0], sources[0]
    seen = {(group.kind, unquote(group.args)): (named, group) for group in first.groups}
    added: list[str] = []
    for source, library in zip(sources[1:], libraries[1:], strict=True):
        _compare_headers(named, first, source, library)
        for group in library.groups:
            key = (group.kind, unquote(group.args))
            if key not in seen:
                if group.kind not in _OF_THE_FIRST:
                    seen[key] = source, group
                    added.append(source.text[group.offset : group.end])
                continue
            if group.kind == "cell":
                source.fail(
                    group.offset, f"cell {key[1]} must stand in one of the files, but is in {seen[key][0].name} too"
                )
            if group.kind not in _OF_THE_FIRST and _meaning(group) != _meaning(seen[key][1]):
                source.fail(group.offset, f"{group.kind} ({key[1]}) must be the same as in {seen[key][0].name}")
    end = first.end - 1  # where the brace that closes the library stands
    return "\n".join([named.text[:end].rstrip(), *(f"  {text}" for text in added), named.text[end:]])


def _compare_headers(named: SourceText, first: Group, source: SourceText, library: Group) -> None:
    """Refuse headers in which the same table would mean something else."""
    names = sorted({*first.attributes, *library.attributes} - _OF_THE_FILE)
    for name in names:
        one, other = (_plain(group.attributes.get(name, "")) for group in (first, library))
        if one != other:
            source.fail(
                library.offset, f"{name} must be as in {named.name}: {one or 'not stated'}, not {other or 'not stated'}"
            )


def _meaning(group: Group) -> object:
    """Return what a group states, without its layout."""
    return {name: _plain(raw) for name, raw in group.attributes.items()}, [_meaning(inner) for inner in group.groups]


def _plain(raw: str) -> str:
    """Return an attribute's text without quotes, backslashes and spaces; numbers in one form."""
    words = raw.replace('"', " ").replace("\\", " ").replace(",", " ").split()
    return " ".join(_number(word) for word in words).lower()


def _number(word: str) -> str:
    try:
        return f"{float(word):.12g}"
    except ValueError:
        return word
