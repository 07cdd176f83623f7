"""The netlist as the simulation reads it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32, UInt64

MAX_PINS = 6


@dataclass(frozen=True, eq=False, slots=True)
class TimedGates:
    """A levelised netlist with everything the simulation needs, as plain arrays.

    Nets are numbered; gates stand in topological order. Pin p of gate g in minterm m (pin p at level `m >> p & 1`) has
    the slot `slot[g] + p * 2**pins[g] + m`: `delay_fs` and `internal_j` there belong to the output edge that follows
    where pin p's change leads to minterm m, `hidden_j` to the edge of the pin itself.

    A register stands as a gate of its data pins that goes from their settled state before the transition to the one
    after it, `delay_fs` (of the minterm after) behind the clock edge at time 0: one stage sees this operation's
    transition while the next sees the last operation's, and both are drawn alike.
    """

    names: tuple[str, ...]  # of the gates
    pins: Int32[np.ndarray, " g"]
    inputs: Int32[np.ndarray, "g 6"]  # nets, -1 beyond the gate's pins
    output: Int32[np.ndarray, " g"]
    truth: UInt64[np.ndarray, " g"]
    slot: Int32[np.ndarray, " g"]
    delay_fs: Int32[np.ndarray, "w slot"]
    internal_j: Float64[np.ndarray, "w slot"]
    hidden_j: Float64[np.ndarray, "w slot"]
    switching_j: Float64[np.ndarray, " net"]  # of one edge of the net
    activation: Int32[np.ndarray, " a"]  # nets, least significant bit first
    partial: Int32[np.ndarray, " p"]
    constant: Int32[np.ndarray, " c"]  # nets at a constant level: weight pins, ties
    level: Bool[np.ndarray, "w c"]
    result: Int32[np.ndarray, " r"]
    register: Bool[np.ndarray, " g"]
    end: Int32[np.ndarray, " e"]  # nets at which paths end: results and data pins of registers
    setup_fs: Int32[np.ndarray, "w e 2"]  # time the end needs after an edge to level 0 or 1
    clock_j: float  # that the registers' clock pins cost in one cycle

    @property
    def nets(self) -> int:
        """Number of nets."""
        return self.switching_j.size
