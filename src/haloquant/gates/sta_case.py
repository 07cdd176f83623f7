"""What a gate can still do when some of its inputs are constant: the logic half of static timing.

A gate's input is 0, 1 or free. A timing arc then lets through the pairs (input edge, output edge) for which some
assignment of the free inputs, in agreement with the constants and with the arc's `when`, makes the output follow the
input that way. This is exact per gate (from truth tables, as OpenSTA 2.3 and later do with decision diagrams); it
knows nothing of correlation between the inputs, which no static timer does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from haloquant.errors import NetlistError
from haloquant.gates.liberty_function import Function, over_inputs
from haloquant.gates.liberty_records import Cell, TimingArc
from haloquant.gates.netlist_build import CellKind

FREE = 2
RISE, FALL = 0, 1
EDGES = ("rise", "fall")
_SENSE_MASK = {"positive_unate": 0b1001, "negative_unate": 0b0110, "non_unate": 0b1111}


def pair_bit(input_edge: int, output_edge: int) -> int:
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


class CaseAnalysis:
    """The cases of one cell kind. `arcs` are its delay arcs, in the order of every `Case.masks`."""

    def __init__(self, kind: CellKind, cell: Cell) -> None:
        """Tabulate the functions and conditions of `cell` over the inputs of `kind`.

        Raises:
            NetlistError: where an output has no function, or no arc to one of the inputs it depends on.
        """
        self.kind = kind
        self.arcs: tuple[TimingArc, ...] = tuple(
            arc for arc in cell.arcs if arc.pin in kind.outputs and arc.related in kind.inputs
        )
        functions = {name: cell.pin(name).function for name in kind.outputs}
        self._tables: dict[str, UInt8[np.ndarray, " rows"]] = {}
        for name, function in functions.items():
            if function is None:
                raise NetlistError(f"pin {name} of cell {kind.name} must have a function to be timed, but has none")
            self._tables[name] = over_inputs(function, kind.inputs)
            for related in function.inputs:
                if not any(arc.pin == name and arc.related == related for arc in self.arcs):
                    raise NetlistError(
                        f"cell {kind.name} must have a timing arc from {related} to {name}, but has none"
                    )
        self._rows = np.arange(1 << len(kind.inputs))
        self._when = [None if arc.when is None else self._condition(arc.when) for arc in self.arcs]
        self._cases: dict[tuple[int, ...], Case] = {}

    def case(self, states: Sequence[int]) -> Case:
        """The case of the given input states (0, 1 or FREE), in the order of the kind's inputs."""
        key = tuple(states)
        if key not in self._cases:
            self._cases[key] = self._analyse(key)
        return self._cases[key]

    def _analyse(self, states: tuple[int, ...]) -> Case:
        possible = np.ones(len(self._rows), dtype=bool)
        for i, state in enumerate(states):
            if state != FREE:
                possible &= (self._rows >> i & 1) == state
        outputs = []
        for name in self.kind.outputs:
            values = self._tables[name][possible]
            outputs.append(FREE if values.min() != values.max() else int(values[0]))
        certain = {  # pins between which some conditional arc surely applies
            (arc.related, arc.pin)
            for arc, when in zip(self.arcs, self._when, strict=True)
            if when is not None and when[possible].all()
        }
        masks: list[int] = []
        enabled: list[int] = []
        for arc, when in zip(self.arcs, self._when, strict=True):
            off = (arc.related, arc.pin) in certain if when is None else not when[possible].any()
            masks.append(0 if off else self._mask(arc, when, possible) & arc_mask(arc))
            enabled.append(0 if off or not self._mask(arc, None, possible) else arc_mask(arc))
        return Case(tuple(outputs), tuple(masks), tuple(enabled))

    def _mask(self, arc: TimingArc, when: Bool[np.ndarray, " rows"] | None, possible: Bool[np.ndarray, " rows"]) -> int:
        i = self.kind.inputs.index(arc.related)
        low = self._rows[possible & (self._rows >> i & 1 == 0)]
        high = low | 1 << i
        both = possible[high]
        low, high = low[both], high[both]
        if when is not None:
            applies = when[low] | when[high]
            low, high = low[applies], high[applies]
        before, after = self._tables[arc.pin][low], self._tables[arc.pin][high]
        mask = 0
        if (after > before).any():
            mask |= _SENSE_MASK["positive_unate"]
        if (after < before).any():
            mask |= _SENSE_MASK["negative_unate"]
        return mask

    def _condition(self, when: Function) -> Bool[np.ndarray, " rows"]:
        """A `when` over the inputs alone: an output that it names is replaced by its function."""
        rows = np.zeros_like(self._rows)
        for i, name in enumerate(when.inputs):
            if name in self.kind.inputs:
                bit = self._rows >> self.kind.inputs.index(name) & 1
            elif name in self._tables:
                bit = self._tables[name].astype(np.int64)
            else:
                raise NetlistError(f"a `when` of cell {self.kind.name} must name its pins, not {name}: {when.text}")
            rows |= bit << i
        return when.table()[rows].astype(bool)


def arc_mask(arc: TimingArc) -> int:
    """The pairs of edges that an arc has tables for, by its sense alone."""
    mask = _SENSE_MASK[arc.sense]
    if arc.cell_rise is None or arc.rise_transition is None:
        mask &= ~(pair_bit(RISE, RISE) | pair_bit(FALL, RISE))
    if arc.cell_fall is None or arc.fall_transition is None:
        mask &= ~(pair_bit(RISE, FALL) | pair_bit(FALL, FALL))
    return mask
