"""Case analysis: the edges that a gate can propagate when some of its inputs are constant.

Each input of a gate is 0, 1 or free. A timing arc can propagate a pair (input edge, output edge) if some assignment of
the free inputs agrees with the constants and with the arc's `when`, and makes the output follow the input in that way.
Some arcs start at another output of the cell (in ASAP7's adders). They have no function, so they propagate all pairs of
their tables, if both outputs can change.

The analysis is exact for a single gate, because it uses truth tables. (OpenSTA 3 uses decision diagrams and is exact
too; its version of 2019 looks at each term of the function alone.) It ignores correlation between the inputs, as every
static timer does.
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
# Bit 2 * input_edge + output_edge; a rising edge is 0, a falling edge is 1
_POSITIVE, _NEGATIVE = 0b1001, 0b0110
_SENSE_MASK = {"positive_unate": _POSITIVE, "negative_unate": _NEGATIVE, "non_unate": _POSITIVE | _NEGATIVE}


def edge_pair_bit(input_edge: int, output_edge: int) -> int:
    """Return the bit of an edge mask for the pair (input edge, output edge)."""
    return 1 << (2 * input_edge + output_edge)


@dataclass(frozen=True, slots=True)
class Case:
    """A gate with some constant inputs: the states of its outputs (0, 1 or FREE), and an edge mask for each arc.

    `masks` holds the pairs of edges that can happen. `enabled` holds all pairs of an arc's tables if its input can
    change its output and its `when` can be true, else 0.
    """

    outputs: tuple[int, ...]
    masks: tuple[int, ...]
    enabled: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Cases:
    """The edge masks of many cases of one cell type; each row is one `Case`."""

    masks: UInt8[np.ndarray, "cases arcs"]
    enabled: UInt8[np.ndarray, "cases arcs"]


class CaseAnalysis:
    """Analyses the cases of one cell type. `arcs` are its delay arcs, in the order of the masks of every case."""

    def __init__(self, kind: CellKind, cell: Cell) -> None:
        """Compute the truth tables of the functions and conditions of `cell` over the inputs of `kind`.

        Raises:
            NetlistError: If an output has no function, or has no arc from an input that it depends on.
        """
        if len(kind.inputs) > MAX_INPUTS:
            raise NetlistError(f"cell {kind.name} must have at most {MAX_INPUTS} inputs, not {len(kind.inputs)}")
        self.kind = kind
        self.arcs = _ordered_arcs(kind, cell)
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
        """Return the masks of many cases at once; `case` is the reference for one case.

        Args:
            codes: the input states of each case as one ternary number; input i has the weight 3**i.
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
        """Return one case by trying every assignment. `states` are 0, 1 or FREE, in the order of the cell type's
        inputs.
        """
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
        """Return the truth table of `when` over the inputs. Outputs in it are replaced by their functions; None is
        true.
        """
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


def _ordered_arcs(kind: CellKind, cell: Cell) -> tuple[TimingArc, ...]:
    """Return the delay arcs between the pins. Arcs that end at an output come before arcs that start at it."""
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
    """Return the mask of the edge pairs that agree with the arc's sense and have tables."""
    mask = _SENSE_MASK[arc.sense]
    if arc.cell_rise is None or arc.rise_transition is None:
        mask &= ~(edge_pair_bit(0, 0) | edge_pair_bit(1, 0))
    if arc.cell_fall is None or arc.fall_transition is None:
        mask &= ~(edge_pair_bit(0, 1) | edge_pair_bit(1, 1))
    return mask
