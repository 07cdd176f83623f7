"""What a gate can still do when some of its inputs are constant: the logic half of static timing.

A gate's input is 0, 1 or free. A timing arc then lets through the pairs (input edge, output edge) for which some
assignment of the free inputs, in agreement with the constants and with the arc's `when`, makes the output follow the
input that way. An arc from another output of the cell (ASAP7's adders have them) has no function to ask; it lets
through what its tables have, while both outputs can move.

This is exact per gate (from truth tables; OpenSTA 3 does the same with decision diagrams, its 2019 version judged term
by term); it knows nothing of correlation between the inputs, which no static timer does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from haloquant.circuits.liberty.boolean_functions import MAX_INPUTS, BooleanFunction, table_over_inputs
from haloquant.circuits.liberty.records import Cell, TimingArc
from haloquant.circuits.netlist.builder import CellKind
from haloquant.circuits.timing.propagation import fill_edge_masks
from haloquant.errors import NetlistError

FREE = 2
EDGES = ("rise", "fall")
# Bit 2 * input_edge + output_edge, where rise is 0 and fall is 1
_POSITIVE, _NEGATIVE = 0b1001, 0b0110
_SENSE_MASK = {"positive_unate": _POSITIVE, "negative_unate": _NEGATIVE, "non_unate": _POSITIVE | _NEGATIVE}


def edge_pair_bit(input_edge: int, output_edge: int) -> int:
    """The bit of a mask that stands for (input edge, output edge)."""
    return 1 << (2 * input_edge + output_edge)


@dataclass(frozen=True, slots=True)
class Case:
    """A gate with some inputs constant: its outputs (0, 1, FREE), and the pairs of edges each arc lets through.

    `masks` are the pairs that can happen; `enabled` are all pairs of an arc's tables, if its input can move its output
    at all and its `when` can hold.
    """

    outputs: tuple[int, ...]
    masks: tuple[int, ...]
    enabled: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Cases:
    """Many cases of one kind: `Case` as rows."""

    masks: UInt8[np.ndarray, "cases arcs"]
    enabled: UInt8[np.ndarray, "cases arcs"]


class CaseAnalysis:
    """The cases of one cell kind. `arcs` are its delay arcs, in the order of every case's masks."""

    def __init__(self, kind: CellKind, cell: Cell) -> None:
        """Tabulate the functions and conditions of `cell` over the inputs of `kind`.

        Raises:
            NetlistError: where an output has no function, or no arc to one of the inputs it depends on.
        """
        if len(kind.inputs) > MAX_INPUTS:
            raise NetlistError(f"cell {kind.name} must have at most {MAX_INPUTS} inputs, not {len(kind.inputs)}")
        self.kind = kind
        self.arcs = _in_order(kind, cell)
        self.functions: dict[str, BooleanFunction] = {}
        self.tables: dict[str, UInt8[np.ndarray, " rows"]] = {}
        self.arc_input = [[*kind.inputs, *kind.outputs].index(arc.related) for arc in self.arcs]
        self.arc_output = [kind.outputs.index(arc.pin) for arc in self.arcs]
        for name in kind.outputs:
            function = cell.pin(name).function
            if function is None:
                raise NetlistError(f"pin {name} of cell {kind.name} must have a function to be timed, but has none")
            self.functions[name] = function
            self.tables[name] = table_over_inputs(function, kind.inputs)
            for related in function.inputs:
                if not any(arc.pin == name and arc.related == related for arc in self.arcs):
                    raise NetlistError(
                        f"cell {kind.name} must have a timing arc from {related} to {name}, but has none"
                    )

    def cases(self, codes: Int64[np.ndarray, " cases"]) -> Cases:
        """Masks of many cases at once; `case` is the slow twin.

        Args:
            codes: the states as ternary numbers, input i having the weight 3**i.
        """
        shape = (len(codes), len(self.arcs))
        masks, enabled = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)
        if self.arcs:
            fill_edge_masks(
                codes,
                len(self.kind.inputs),
                np.array(list(self.tables.values()), dtype=np.uint8),
                np.array([self._condition(arc.when) for arc in self.arcs]),
                np.array([arc.when is not None for arc in self.arcs]),
                np.array(self.arc_input),
                np.array(self.arc_output),
                np.array([arc_mask(arc) for arc in self.arcs], dtype=np.uint8),
                masks,
                enabled,
            )
        return Cases(masks, enabled)

    def case(self, states: Sequence[int]) -> Case:
        """One case, by trying every assignment: states are 0, 1 or FREE, in the order of the kind's inputs."""
        names = self.kind.inputs
        tries: dict[tuple[int, ...], dict[str, int]] = {}
        for bits in product(*[(0, 1) if state == FREE else (state,) for state in states]):
            tries[bits] = dict(zip(names, bits, strict=True))
            tries[bits].update({name: int(f.evaluate(tries[bits])) for name, f in self.functions.items()})
        values = {name: {pins[name] for pins in tries.values()} for name in self.kind.outputs}
        certain = {
            (arc.related, arc.pin)
            for arc in self.arcs
            if arc.when is not None and all(arc.when.evaluate(pins) for pins in tries.values())
        }
        masks: list[int] = []
        enabled: list[int] = []
        for arc in self.arcs:
            mask = every = 0
            off = (arc.related, arc.pin) in certain
            if arc.when is not None:
                off = not any(arc.when.evaluate(pins) for pins in tries.values())
            if arc.related in values:
                if not off and len(values[arc.related]) == len(values[arc.pin]) == 2:
                    mask = every = arc_mask(arc)
                masks.append(mask)
                enabled.append(every)
                continue
            i = names.index(arc.related)
            for bits, before in tries.items() if not off and states[i] == FREE else ():
                after = tries[(*bits[:i], 1, *bits[i + 1 :])]
                if before[arc.pin] != after[arc.pin]:
                    every = arc_mask(arc)
                    if arc.when is None or arc.when.evaluate(before) or arc.when.evaluate(after):
                        mask |= _POSITIVE if after[arc.pin] else _NEGATIVE
            masks.append(mask & arc_mask(arc))
            enabled.append(every)
        outputs = tuple(FREE if len(found) > 1 else min(found) for found in values.values())
        return Case(outputs, tuple(masks), tuple(enabled))

    def _condition(self, when: BooleanFunction | None) -> Bool[np.ndarray, " rows"]:
        """A `when` over the inputs alone (true without one): an output that it names is replaced by its function."""
        every = np.arange(1 << len(self.kind.inputs))
        if when is None:
            return np.ones(len(every), dtype=bool)
        if set(when.inputs) <= set(self.kind.inputs):
            return table_over_inputs(when, self.kind.inputs).view(bool)
        rows = np.zeros_like(every)
        for i, name in enumerate(when.inputs):
            if name in self.kind.inputs:
                bit = every >> self.kind.inputs.index(name) & 1
            elif name in self.tables:
                bit = self.tables[name].astype(np.int64)
            else:
                raise NetlistError(f"a `when` of cell {self.kind.name} must name its pins, not {name}: {when.text}")
            rows |= bit << i
        return when.table()[rows].astype(bool)


def _in_order(kind: CellKind, cell: Cell) -> tuple[TimingArc, ...]:
    """The delay arcs between the kind's pins, those of an output before those that start at it."""
    arcs = [arc for arc in cell.arcs if arc.pin in kind.outputs and arc.related in (*kind.inputs, *kind.outputs)]
    ordered: list[TimingArc] = []
    while arcs:
        waiting = {arc.pin for arc in arcs}
        ready = [arc for arc in arcs if arc.related not in waiting]
        if not ready:
            loop = ", ".join(sorted(f"{arc.related} to {arc.pin}" for arc in arcs))
            raise NetlistError(f"the outputs of cell {kind.name} must not be timed from each other, but are: {loop}")
        ordered += ready
        arcs = [arc for arc in arcs if arc.related in waiting]
    return tuple(ordered)


def arc_mask(arc: TimingArc) -> int:
    """The pairs of edges that an arc has tables for, by its sense alone."""
    mask = _SENSE_MASK[arc.sense]
    if arc.cell_rise is None or arc.rise_transition is None:
        mask &= ~(edge_pair_bit(0, 0) | edge_pair_bit(1, 0))
    if arc.cell_fall is None or arc.fall_transition is None:
        mask &= ~(edge_pair_bit(0, 1) | edge_pair_bit(1, 1))
    return mask
