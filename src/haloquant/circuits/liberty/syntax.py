"""The syntax of Liberty files: `read_groups` parses a text into a tree of groups, without interpreting them.

    library (name) { attribute : value; complex (a, b); group (args) { ... } }

One regular expression matches a whole statement, so a file of 12 MB costs about 400,000 matches. Every repetition in it
is possessive, so the time is linear in the length of any text.
"""

import re
from dataclasses import dataclass, field
from typing import NoReturn

from haloquant.errors import LibertyError

MAX_DEPTH = 16  # a valid file has six levels: library, cell, pin, timing, table, domain

_BLANK = re.compile(r"(?>[\s;\\]++|/\*(?s:.*?)\*/|(?://|\#)[^\n]*+)*+")
_STATEMENT = re.compile(
    r"""(?>
      (?P<close>\})
    | (?P<name>"[^"\n]*+"|[A-Za-z_][\w.\-]*+)[\s\\]*+
      (?>
        [:=][ \t\\\r\n]*+(?P<value>"(?>[^"\\]|\\.)*+"|[^;{}\n"]++)
      | \((?P<args>(?>[^()"]|"(?>[^"\\]|\\.)*+")*+)\)[\s\\]*+(?P<open>\{)?
      )
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True)
class Group:
    """One group `kind (args) { ... }`. Attributes are raw text; of several with one name, the last is kept."""

    kind: str
    args: str
    offset: int
    end: int = -1  # offset behind the closing brace
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    groups: "list[Group]" = field(default_factory=list["Group"])


@dataclass(frozen=True, slots=True)
class SourceText:
    """A text and its name, for error messages with a line number."""

    name: str
    text: str

    def fail(self, offset: int, sentence: str) -> NoReturn:
        """Refuse the text with a sentence that follows `name:line: `. The line is that of the character at `offset`.

        Raises:
            LibertyError: Always.
        """
        raise LibertyError(f"{self.name}:{self.text.count(chr(10), 0, offset) + 1}: {sentence}")


def unquote(text: str) -> str:
    """Return the text without surrounding blanks and quotes."""
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == '"' == text[-1] else text


def read_groups(source: SourceText) -> Group:
    """Parse one Liberty file into its `library` group.

    Returns:
        The outermost group, of kind `library`.

    Raises:
        LibertyError: If a statement is malformed, a brace is missing or left over, or groups nest deeper than 16. The
            message gives the line.
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
            stack.pop().end = found.end()
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


def _place(source: SourceText, stack: list[Group], library: Group | None, group: Group) -> None:
    if stack:
        if len(stack) >= MAX_DEPTH:
            source.fail(group.offset, f"groups must nest at most {MAX_DEPTH} deep, but {group.kind} stands deeper")
        stack[-1].groups.append(group)
    elif library is not None:
        source.fail(group.offset, f"the file must hold one library, but a group {group.kind} follows it")
    elif group.kind != "library":
        source.fail(group.offset, f"the outermost group must be 'library', not {group.kind!r}")


def _malformed(source: SourceText, position: int) -> NoReturn:
    text = source.text
    if text.startswith("/*", position):
        source.fail(position, "a comment must be closed by '*/', but the file ends first")
    shown = text[position : position + 40].split("\n", 1)[0].strip()
    if not re.search(r"[;{}]", text[position:]):
        source.fail(
            position, f"the file must not end inside a statement, but it does, after {shown!r}; it is truncated"
        )
    source.fail(position, f"a statement must be 'name : value;', 'name (values);' or 'name (args) {{', not {shown!r}")
