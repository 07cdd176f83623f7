"""The outer shape of a Liberty file: text to a tree of groups, without knowing what any of them means.

    library (name) { attribute : value; complex (a, b); group (args) { ... } }

One regular expression takes a whole statement, so that a 12 MB file costs some 400,000 matches. Every repetition in it
is possessive: the time is linear in the text whatever the text is.
"""

import re
from dataclasses import dataclass, field
from typing import NoReturn

from haloquant.errors import LibertyError

DEEPEST = 16  # a Liberty file nests six deep (library, cell, pin, timing, table, domain); more is damage

_BLANK = re.compile(r"(?>[\s;\\]++|/\*(?s:.*?)\*/|//[^\n]*+)*+")
_STATEMENT = re.compile(
    r"""(?>
      (?P<close>\})
    | (?P<name>"[^"\n]*+"|[A-Za-z_][\w.\-]*+)\s*+
      (?>
        :[ \t\\\n]*+(?P<value>"(?>[^"\\]|\\.)*+"|[^;{}\n"]++)
      | \((?P<args>(?>[^()"]|"(?>[^"\\]|\\.)*+")*+)\)\s*+(?P<open>\{)?
      )
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True)
class Group:
    """One `kind (args) { ... }`: its attributes as raw text (the last of a name wins) and its groups."""

    kind: str
    args: str
    offset: int
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    groups: "list[Group]" = field(default_factory=list["Group"])


@dataclass(frozen=True, slots=True)
class Source:
    """A text and its name, to point at a line of it."""

    name: str
    text: str

    def fail(self, offset: int, sentence: str) -> NoReturn:
        """Raise a `LibertyError` that begins with `name:line:`."""
        raise LibertyError(f"{self.name}:{self.text.count(chr(10), 0, offset) + 1}: {sentence}")


def unquote(text: str) -> str:
    """The text without the blanks and quotes around it."""
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == '"' == text[-1] else text


def read_groups(source: Source) -> Group:
    """Parse one Liberty file into its `library` group.

    Returns:
        The outermost group, of kind `library`.

    Raises:
        LibertyError: with the line, where a statement is malformed, a brace is missing or left over, or groups nest
            deeper than 16.
    """
    text, position = source.text, 0
    library: Group | None = None
    stack: list[Group] = []
    blank, statement = _BLANK.match, _STATEMENT.match
    while True:
        if skipped := blank(text, position):
            position = skipped.end()
        if position >= len(text):
            break
        found = statement(text, position)
        if found is None:
            _malformed(source, position)
        close, name, value, args, opened = found.groups()
        if close:
            if not stack:
                source.fail(position, "a '}' must close a group, but no group is open here")
            stack.pop()
        elif opened:
            group = Group(unquote(name), args, position)
            _place(source, stack, library, group)
            if library is None:
                library = group
            stack.append(group)
        elif stack:
            stack[-1].attributes[name] = args if value is None else value
        else:
            source.fail(position, f"the file must begin with 'library (name) {{', not with {name!r}")
        position = found.end()
    if stack:
        last = stack[-1]
        source.fail(
            last.offset,
            f"group {last.kind} ({unquote(last.args)}) must be closed by '}}', but the file ends first; "
            "it is truncated or a brace is missing",
        )
    if library is None:
        source.fail(0, "a Liberty file must hold 'library (name) { ... }', but this one is empty")
    return library


def _place(source: Source, stack: list[Group], library: Group | None, group: Group) -> None:
    if stack:
        if len(stack) >= DEEPEST:
            source.fail(group.offset, f"groups must nest at most {DEEPEST} deep, but {group.kind} stands deeper")
        stack[-1].groups.append(group)
    elif library is not None:
        source.fail(group.offset, f"the file must hold one library, but a group {group.kind} follows it")
    elif group.kind != "library":
        source.fail(group.offset, f"the outermost group must be 'library', not {group.kind!r}")


def _malformed(source: Source, position: int) -> NoReturn:
    text = source.text
    if text.startswith("/*", position):
        source.fail(position, "a comment must be closed by '*/', but the file ends first")
    shown = text[position : position + 40].split("\n", 1)[0].strip()
    if not re.search(r"[;{}]", text[position:]):
        source.fail(
            position, f"the file must not end inside a statement, but it does, after {shown!r}; it is truncated"
        )
    source.fail(position, f"a statement must be 'name : value;', 'name (values);' or 'name (args) {{', not {shown!r}")
