"""The record of an annotated netlist, which the simulation reads."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32, UInt64

MAX_PINS = 6


@dataclass(frozen=True, eq=False, slots=True)
class TimedGates:
    """A levelised netlist with delays and energies for each weight value, as plain arrays.

    Nets are numbered; gates are in topological order. Minterm m of a gate has pin p at level `m >> p & 1`. Pin p of
    gate g and minterm m have the slot `slot[g] + p * 2**pins[g] + m`. If a change of pin p leads to minterm m and the
    output changes, `delay_fs` and `internal_j` of this slot apply. `hidden_j` of this slot is the energy of the edge
    of pin p itself.

    A register is a gate of its data pins. Its output changes from the value for their settled levels before the
    transition to the value for the levels after it. The clock edge is at time 0, and the change is `delay_fs` later,
    read at the minterm after the transition. In a pipeline one stage processes this operation while the next processes
    the previous one; both have the same statistics.
    """

    names: tuple[str, ...]  # "instance/output pin" of each gate
    pins: Int32[np.ndarray, " g"]
    inputs: Int32[np.ndarray, "g 6"]  # nets; -1 in unused places
    output: Int32[np.ndarray, " g"]
    truth: UInt64[np.ndarray, " g"]
    slot: Int32[np.ndarray, " g"]
    delay_fs: Int32[np.ndarray, "w slot"]
    internal_j: Float64[np.ndarray, "w slot"]
    hidden_j: Float64[np.ndarray, "w slot"]
    switching_j: Float64[np.ndarray, " net"]  # energy of one edge of the net
    activation: Int32[np.ndarray, " a"]  # nets, least significant bit first
    partial: Int32[np.ndarray, " p"]
    constant: Int32[np.ndarray, " c"]  # nets with a constant level: constants, weight pins, tied pins
    level: Bool[np.ndarray, "w c"]
    result: Int32[np.ndarray, " r"]
    register: Bool[np.ndarray, " g"]
    end: Int32[np.ndarray, " e"]  # nets at which paths end: results and data inputs of registers
    setup_fs: Int32[np.ndarray, "w e 2"]  # setup time of each end after an edge to level 0 or 1
    clock_j: float  # energy of all clock pins in one cycle

    @property
    def nets(self) -> int:
        """Number of nets."""
        return self.switching_j.size
