"""What a value change dump of a simulated netlist says, as counts by gate: edges, their causes, settled states."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from haloquant.circuits.simulation.reference.constants import influential_pins, known_levels
from haloquant.circuits.simulation.timed_gates import TimedGates

_BIT = ["$var", "wire", "1"]


class Seen:
    """What a value change dump says: edges by gate, pin that caused them, state they led to; states before.

    An edge was caused by the change of an input one delay earlier (after `without_pins` a gate has one delay to each
    edge); of several inputs that change in that instant, the first that has an influence is named, as our simulation
    does.
    """

    def __init__(self, gates: TimedGates, settle_fs: int, vcd: str) -> None:
        self.gates, self.settle_fs = gates, settle_fs
        self.transitions = self.needed = 0
        count = len(gates.names)
        self.edges = [Counter[tuple[int, int]]() for _ in range(count)]  # (pin, minterm) -> output edges
        self.moved = [Counter[tuple[int, int]]() for _ in range(count)]  # (pin, minterm) -> edges of the pin
        self.states = [Counter[int]() for _ in range(count)]  # minterm -> settled before a transition
        known = known_levels(gates, 0)
        self._causes = [influential_pins(gates, g, known) for g in range(count)]
        self._readers: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for g in range(count):
            for pin in range(int(gates.pins[g])):
                self._readers[int(gates.inputs[g, pin])].append((g, pin))
        self._driver = {int(net): g for g, net in enumerate(gates.output)}
        self._follow(vcd)

    def _follow(self, vcd: str) -> None:
        head, body = vcd.split("$enddefinitions $end")
        code = {word[3]: int(word[4][1:]) for line in head.splitlines() if (word := line.split())[:3] == _BIT
                and word[4][1:].isdigit() and word[4][0] == "n"}  # fmt: skip
        level: dict[int, int] = {}
        minterm = [0] * len(self.gates.names)
        history: list[dict[int, tuple[list[int], int]]] = [{} for _ in minterm]
        settled: dict[int, int] = {}
        window, now = 0, 0
        changes: dict[int, int] = {}

        def instant() -> None:
            touched: dict[int, list[int]] = defaultdict(list)
            for net, value in changes.items():
                flips = level.get(net, 0) != value
                level[net] = value
                if not flips:
                    continue
                for g, pin in self._readers[net]:
                    minterm[g] ^= 1 << pin
                    touched[g].append(pin)
            for g, pins in touched.items():
                history[g][now] = (sorted(pins), minterm[g])
            if window % 2 == 0:
                return
            for g, pins in touched.items():
                self.moved[g].update((pin, minterm[g]) for pin in pins)
            for net, value in changes.items():
                if net in self._driver:
                    self._count(self._driver[net], value, now, history)

        def enter() -> None:
            nonlocal settled
            if window % 2:
                self.transitions += 1
                settled = dict(level)
                for g, m in enumerate(minterm):
                    self.states[g][m] += 1
            else:
                self.needed += sum(level[net] != settled[net] for net in self._driver if net in level)

        for line in body.splitlines():
            if line.startswith("#"):
                if changes:
                    instant()
                changes, now = {}, int(line[1:])
                while window < now // self.settle_fs:
                    window += 1
                    history = [{} for _ in minterm]
                    enter()
            elif line[:1] in ("0", "1") and line[1:] in code:
                changes[code[line[1:]]] = int(line[0])
        if changes:
            instant()
        if window % 2:
            window += 1
            enter()

    def _count(self, g: int, value: int, now: int, history: Sequence[dict[int, tuple[list[int], int]]]) -> None:
        gates, pins = self.gates, int(self.gates.pins[g])
        truth, first = int(gates.truth[g]), next(p for p, can in enumerate(self._causes[g]) if can)
        to = next(m for m in range(1 << pins) if truth >> m & 1 == value)
        delay = int(gates.delay_fs[0, int(gates.slot[g]) + (first << pins) + to])
        changed, m = history[g][now - delay]
        assert truth >> m & 1 == value
        self.edges[g][next(p for p in changed if self._causes[g][p]), m] += 1
