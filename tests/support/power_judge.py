"""OpenSTA 2.0.17 as a judge of energies: single gates with one pin that toggles, in a library it can read them from.

What this release makes of power (its sources, and its own words under `set_debug power 2`), against Liberty's meaning:

- it adds a table's rise and fall energies where an edge costs one of them;
- an output's table without `when` counts with a guessed share (from the function's outermost operator, else one half),
  also for pins that do not move; one with `when` counts in the share of time that the condition holds, which is right;
- an input pin's own table without `when` counts half;
- activities pass a function's terms as if these were independent, and an exclusive-or halves them;
- an output's edge takes the slew of the pin's edge of the same direction, whatever the sense;
- the state that a gate leaks in is not looked at: every input of a `when` counts one half, and a condition that also
  names the output counts twice;
- a pin loads its driver with the larger of its rise and fall capacitances.

So each question gets a cell of its own in the copy that the judge reads: the library's head, the cell's tables of one
pin, one output and one edge in the library's own words, `when : "1"` where it gives no condition, exclusive-ors written
out, and arcs without tables (timing has a judge of its own). Units, templates, axes, interpolation and extrapolation,
conditions, supply and loads are then what OpenSTA reads in the library; one edge with one slew is asked for at a time.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from haloquant.eda.crosscheck.opensta import OpenSta

RULES = "2.0.17"  # the release whose rules these are
_AT_ONCE = 500  # questions of a run
PERIOD_S = 1e-9


@dataclass(frozen=True)
class Group:
    """One group of a Liberty text: `kind (args) { body }`."""

    kind: str
    args: str
    body: str

    def groups(self, *kinds: str) -> list["Group"]:
        return [g for g in _inside(self.body) if g.kind in kinds]

    def attribute(self, name: str) -> str | None:
        return _attribute(self.body, name)

    def text(self) -> str:
        return f"{self.kind} ({self.args}) {{{self.body}}}\n"


_HEAD = re.compile(r"([A-Za-z_]\w*)\s*\(([^(){}]*)\)\s*\{")


def _groups(body: str) -> Iterator[Group]:
    at = 0
    while found := _HEAD.search(body, at):
        depth, end = 1, found.end()
        for brace in re.finditer(r"[{}]", body[found.end() :]):
            depth += 1 if brace.group() == "{" else -1
            if not depth:
                end = found.end() + brace.start()
                break
        yield Group(found.group(1), found.group(2).strip().strip('"'), body[found.end() : end])
        at = end + 1


@cache
def _inside(body: str) -> tuple[Group, ...]:
    return tuple(_groups(body))


@cache
def _flat(body: str) -> str:
    """A body without the groups in it."""
    while "{" in body:
        body = re.sub(r"[A-Za-z_]\w*\s*\([^(){}]*\)\s*\{[^{}]*\}", "", body)
    return body


@cache
def _attribute(body: str, name: str) -> str | None:
    found = re.search(rf'\b{name}\s*:\s*("[^"]*"|[^;\n]*)', _flat(body))
    return found.group(1).strip().strip('"') if found else None


@dataclass(frozen=True)
class Cells:
    """A library's head and its cells, as text."""

    head: str
    cells: Mapping[str, Group]


def read_cells(liberty: str) -> Cells:
    """Cut a library up. Wire loads go; the default conditions move behind what they name, where 2.0.17 finds them."""
    text = re.sub(r"/\*.*?\*/", "", liberty, flags=re.DOTALL)
    first = re.search(r"^\s*cell\s*\(", text, re.MULTILINE)
    assert first is not None
    head, rest = text[: first.start()], text[first.start() :]
    head = re.sub(r"^\s*default_(wire_load|operating_conditions)\s*:[^;\n]*;?", "", head, flags=re.MULTILINE)
    conditions = re.findall(r"^\s*operating_conditions\s*\(([^)]*)\)", head, re.MULTILINE)
    head += f"\n  default_operating_conditions : {conditions[0].strip()};\n"
    return Cells(head, {cell.args: cell for cell in _groups(rest) if cell.kind == "cell"})


def literals(when: str) -> dict[str, int]:
    """A product of literals, as the conditions of all these libraries are: pin -> level."""
    terms = [term for term in re.split(r"[&*\s()]+", when.replace("! ", "!")) if term]
    assert all(re.fullmatch(r"!?\w+", term) for term in terms), when
    return {term.lstrip("!"): int(term[0] != "!") for term in terms}


@dataclass(frozen=True)
class Question:
    """What one edge costs in a gate: `output`'s edge caused by `pin`, or the pin's own edge where `output` is "".

    With `edge` "leak" it is what the gate leaks with its pins at `side` (all of them; `output` holds their levels).
    """

    cell: str
    pin: str
    output: str
    edge: str  # "rise", "fall" or "leak"
    side: tuple[tuple[str, int], ...]  # levels of the other pins
    slew_s: float = 0.0
    load_f: float = 0.0
    activity: float = 1.0  # edges of the pin in one period

    @property
    def name(self) -> str:
        levels = "".join(str(level) for _, level in self.side) if self.edge == "leak" else ""
        return f"{self.cell}__{self.pin}_{self.output}_{self.edge}{levels}"


@dataclass(frozen=True)
class Answer:
    """Energies in one period (J), how often the output moves for an edge of the pin, and leakage (W)."""

    internal_j: float
    switching_j: float
    moves: float
    leakage_w: float


def ask(tool: OpenSta, cells: Cells, questions: Sequence[Question], voltage_v: float, folder: Path) -> list[Answer]:
    """Put the questions in runs of `_AT_ONCE`, as the time of a run grows with the square of their number.

    How often an output moves is worked out from its switching power, load and voltage; where OpenSTA takes the terms of
    a function for independent and gets that wrong, the energies are those of as many edges as the pin has.
    """
    return [
        answer
        for first in range(0, len(questions), _AT_ONCE)
        for answer in _ask(tool, cells, questions[first : first + _AT_ONCE], voltage_v, folder)
    ]


def _ask(tool: OpenSta, cells: Cells, questions: Sequence[Question], voltage_v: float, folder: Path) -> list[Answer]:
    copies = {q.name: q for q in questions}
    liberty = cells.head + "".join(_copy(cells.cells[q.cell], _of_cell(q)) for q in copies.values()) + "}\n"
    (folder / "cells.lib").write_text(liberty)
    (folder / "mac.v").write_text(_verilog(cells, questions))
    rows = _run(tool, _script(questions), folder)
    assert len(rows) == len(questions)
    answers: list[Answer] = []
    for i, q in enumerate(questions):
        internal, switching, leakage = (float(word) for word in rows[f"g{i}"][:3])
        whole = 0.5 * q.load_f * voltage_v**2 * q.activity / PERIOD_S
        moves = switching / whole if q.output and whole else 1.0
        answers.append(Answer(internal * PERIOD_S / moves, switching * PERIOD_S / moves, moves, leakage))
    return answers


def _of_cell(q: Question) -> Question:
    """What a question asks of its cell. Many gates ask the same, and each text is made once."""
    return Question(q.cell, q.pin, q.output, q.edge, q.side if q.edge == "leak" else ())


@cache
def _copy(cell: Group, q: Question) -> str:
    pins = cell.groups("pin")
    inputs = [pin.args for pin in pins if pin.attribute("direction") == "input"]
    lines = [f"cell ({q.name}) {{ area : 1;"]
    if q.edge == "leak":
        lines += _leakage(cell, dict(q.side))
    for pin in pins:
        way = pin.attribute("direction")
        if way not in ("input", "output"):
            continue
        lines.append(f"pin ({pin.args}) {{ direction : {way}; capacitance : 0;")
        wanted = [g for g in pin.groups("internal_power") if q.edge != "leak" and _asked(g, pin.args, q)]
        if way == "output":
            function = _without_xor(pin.attribute("function") or "")
            lines.append(f'function : "{function}";')
            lines += [_ARC % i for i in inputs if re.search(rf"\b{i}\b", function)]
        lines += [_one_edge(g, q.edge) for g in wanted]
        lines.append("}")
    return "\n".join([*lines, "}", ""])


_ARC = (
    'timing () { related_pin : "%s"; timing_sense : non_unate; cell_rise (scalar) { values ("0"); } '
    'cell_fall (scalar) { values ("0"); } rise_transition (scalar) { values ("0"); } '
    'fall_transition (scalar) { values ("0"); } }'
)


def _without_xor(function: str) -> str:
    """A function with `a ^ b` written as `(a & !b) | (!a & b)`."""
    operand = r"(\w+|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))"
    while "^" in function:
        function = re.sub(rf"{operand}\s*\^\s*{operand}", r"((\1 & !\2) | (!\1 & \2))", function, count=1)
    return function


def _asked(group: Group, pin: str, q: Question) -> bool:
    related = (group.attribute("related_pin") or "").split()
    return (pin == q.output and q.pin in related) if q.output else (pin == q.pin and not related)


def _one_edge(group: Group, edge: str) -> str:
    tables = group.groups(f"{edge}_power", "power")
    when = group.attribute("when") or "1"
    related, supply = group.attribute("related_pin"), group.attribute("related_pg_pin")
    words = [f'when : "{when}";']
    words += [f'related_pin : "{related}";'] if related else []
    words += [f"related_pg_pin : {supply};"] if supply else []
    body = "".join(Group(f"{edge}_power", t.args, t.body).text() for t in tables)
    return f"internal_power () {{ {' '.join(words)}\n{body}}}"


def _leakage(cell: Group, state: Mapping[str, int]) -> list[str]:
    """The figures of the groups that hold in a state (outputs follow from inputs), else of those without `when`."""
    groups = [(g.attribute("when"), g.attribute("value")) for g in cell.groups("leakage_power")]
    holding = [v for w, v in groups if w and all(state.get(p, x) == x for p, x in literals(w).items())]
    found = holding or [v for w, v in groups if not w]
    lines = [f"leakage_power () {{ value : {value}; }}" for value in found]
    return lines or [f"cell_leakage_power : {cell.attribute('cell_leakage_power')};"]


def _verilog(cells: Cells, questions: Sequence[Question]) -> str:
    count = len(questions)
    lines = [f"module mac (input [1:0] w, input [{count - 1}:0] a, output [{count - 1}:0] y);"]
    for i, q in enumerate(questions):
        pins = [f".{pin}(w[{level}])" for pin, level in q.side if pin != q.pin]
        pins += [f".{q.pin}(a[{i}])"] if q.edge != "leak" else []
        output = q.output or _first_output(cells.cells[q.cell])
        lines.append(f"{q.name} g{i} ({', '.join([*pins, f'.{output}(y[{i}])'])});")
    return "\n".join([*lines, "endmodule", ""])


def _first_output(cell: Group) -> str:
    return next(pin.args for pin in cell.groups("pin") if pin.attribute("direction") == "output")


def _script(questions: Sequence[Question]) -> Iterable[str]:
    yield from ("read_liberty cells.lib", "read_verilog mac.v", "link_design mac")
    yield "set_cmd_units -time ps -capacitance fF"
    yield f"create_clock -name operation -period {PERIOD_S * 1e12:g}"
    yield "set_input_delay 0 -clock operation [get_ports a]"
    for level in (0, 1):
        yield f"set_power_activity -input_ports [get_ports w[{level}]] -activity 0 -duty {level}"
    for i, q in enumerate(questions):
        if q.edge != "leak":
            yield f"set_power_activity -input_ports [get_ports a[{i}]] -activity {q.activity:.9g} -duty 0.5"
            yield f"set_input_transition {q.slew_s * 1e12:.9g} [get_ports a[{i}]]"
            yield f"set_load -pin_load {q.load_f * 1e15:.9g} [get_ports y[{i}]]"
    yield 'foreach i [get_cells *] { puts "halo [get_full_name $i] [sta::instance_power $i [sta::cmd_corner]]" }'
    yield from ("exit", "")


def whole_power(tool: OpenSta, cells: Cells, verilog: str, folder: Path) -> dict[str, list[float]]:
    """A netlist with one edge a period at every pin: switching energy (J) and leakage (W) of every instance."""
    (folder / "whole.lib").write_text(cells.head + "".join(cell.text() for cell in cells.cells.values()) + "}\n")
    (folder / "whole.v").write_text(verilog)
    lines = ["read_liberty whole.lib", "read_verilog whole.v", "link_design mac"]
    lines += ["set_cmd_units -time ps -capacitance fF", f"create_clock -name operation -period {PERIOD_S * 1e12:g}"]
    lines += ["set_input_delay 0 -clock operation [get_ports a]", "set_load -pin_load 1 [get_ports y]"]
    lines += ["set_power_activity -global -activity 1 -duty 0.5"]
    lines += ['foreach i [get_cells *] { puts "halo [get_full_name $i] [sta::instance_power $i [sta::cmd_corner]]" }']
    rows = _run(tool, [*lines, "exit", ""], folder)
    return {name: [float(said[1]) * PERIOD_S, float(said[2])] for name, said in rows.items()}


def _run(tool: OpenSta, script: Iterable[str], folder: Path) -> dict[str, list[str]]:
    (folder / "run.tcl").write_text("\n".join(script))
    done = subprocess.run(
        (tool.path, "-no_init", "-no_splash", "-exit", "run.tcl"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    rows = {name: said.split() for name, said in re.findall(r"^halo (\w+) (.*)$", done.stdout, re.MULTILINE)}
    assert rows, (done.returncode, done.stdout[:500], done.stderr[:500])
    return rows
