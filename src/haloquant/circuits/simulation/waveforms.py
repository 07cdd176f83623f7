"""Waveforms of nets, and the compiled loops that compute the output waveforms of gates and registers.

A *lane* is one transition of the inputs. The waveform of a net in one lane is its level before the transition and the
times at which it toggles. Over the 65,536 transitions of eight activation bits most nets have far fewer than 65,536
different waveforms. So a net is stored as its different `Waveforms` and one index per lane. A gate is evaluated once
for each different *combination* of input waveforms, and counted as often as the combination occurs.

Times are integers (fs), so comparisons are exact and no result depends on the order of a summation.

The filter is the treatment of input changes that are closer together than the delay of the gate:

- `INERTIAL`: at most one output change is pending. If the function's value changes back while a change is pending, the
  pending change is cancelled, so a pulse shorter than the delay never appears. This is the rule of IEEE 1364-2005,
  14.6, for module paths whose pulse limits equal the delay (the default).
- `SAMPLED`: the rule of Icarus Verilog's `vvp` for module paths. Every change of the function's value schedules a
  sample of the function after the delay, and the output takes the value that the function has at that time. The results
  differ if a change is taken back and happens again: the earlier sample then shows it too early.

If several inputs change at the same time, they change together, and the output follows after the smallest of their
delays, as in Icarus.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, no_type_check

import numpy as np
from jaxtyping import Int32, UInt8
from numba import njit

NEVER: Final = 2**31 - 1


class Filter(IntEnum):
    """The treatment of pulses shorter than the delay of a gate."""

    INERTIAL = 0
    SAMPLED = 1


@dataclass(frozen=True, eq=False, slots=True)
class Waveforms:
    """The different waveforms of a net: waveform u has `level[u]` first and toggles at
    `times_fs[start[u]:start[u+1]]`.
    """

    level: UInt8[np.ndarray, " u"]
    start: Int32[np.ndarray, " u1"]
    times_fs: Int32[np.ndarray, " t"]


@njit(nogil=True, cache=True)
@no_type_check
def _same(times, a, b, length):
    for i in range(length):  # noqa: SIM110 (a generator does not compile)
        if times[a + i] != times[b + i]:
            return False
    return True


@njit(nogil=True, cache=True)
@no_type_check
def evaluate_gate(
    shown,
    level,
    start,
    times,
    truth,
    delay,
    internal,
    hidden,
    sampled,
    table,
    out_id,
    out_level,
    out_start,
    out_times,
    energy,
):
    """Evaluate one gate for every combination of input waveforms.

    Args:
        shown: [pin, combination], the row of `level` and `start` with the waveform of each pin.
        level: [row], the level of a waveform before the transition.
        start: [row, 2], the first and the end index of a waveform in `times`.
        times: toggle times (fs), ascending within a waveform.
        truth: the function; bit m is its value if each pin p has the level `m >> p & 1`.
        delay: [pin, m], the delay (fs, at least 1) if a change of that pin leads to minterm m.
        internal: [pin, m], the energy (J) of an output edge that this change causes.
        hidden: [pin, m], the energy (J) of the input edge itself.
        sampled: whether the filter is `SAMPLED`.
        table: a hash table for the output waveforms; all -1 before and after; its size is a power of two and at least
            twice the number of combinations.
        out_id: [combination], receives the index of the output waveform.
        out_level: receives the level of each different output waveform before the transition.
        out_start: receives the index of each waveform in `out_times`, and the end of the last one.
        out_times: receives the toggle times.
        energy: [combination], receives the internal energy (J).

    Returns:
        The number of different output waveforms, or -1 if `out_times` is too short; then all results are invalid.
    """
    pins, combinations = shown.shape
    at = np.empty(pins, np.int64)
    end = np.empty(pins, np.int64)
    upcoming = np.empty(pins, np.int32)
    samples = np.empty(1, np.int32)
    causes = np.empty(1, np.int64)
    mask = table.size - 1
    waves = 0
    used = 0
    out_start[0] = 0
    full = False
    for c in range(combinations):
        m = 0
        now = NEVER
        longest = 0
        for p in range(pins):
            row = shown[p, c]
            m |= np.int64(level[row]) << p
            at[p] = start[row, 0]
            end[p] = start[row, 1]
            longest += end[p] - at[p]
            upcoming[p] = times[at[p]] if at[p] < end[p] else NEVER
            now = min(now, upcoming[p])
        if used + longest > out_times.size:
            full = True
            break
        if sampled and samples.size < longest:
            samples = np.empty(longest, np.int32)
            causes = np.empty(longest, np.int64)
        first = np.int64(truth >> np.uint64(m)) & 1
        function = first
        out = first
        joules = 0.0
        length = 0
        pending = NEVER
        cause = 0
        queued = 0
        while now != NEVER:
            if pending <= now:  # the pending change happens, also at the very time of the next input change
                if function != out:
                    out_times[used + length] = pending
                    length += 1
                    out = function
                    joules += internal[cause // 64, cause % 64]
                pending = NEVER
                if sampled:  # all samples until now see the same value
                    kept = 0
                    for i in range(queued):
                        if samples[i] > now:
                            samples[kept] = samples[i]
                            causes[kept] = causes[i]
                            kept += 1
                            if samples[kept - 1] < pending:
                                pending = samples[kept - 1]
                                cause = causes[kept - 1]
                    queued = kept
            new = m
            following = NEVER
            for p in range(pins):
                if upcoming[p] == now:
                    new ^= 1 << p
            least = NEVER
            pin = 0
            for p in range(pins):
                if upcoming[p] == now:
                    joules += hidden[p, new]
                    if delay[p, new] < least:
                        least = delay[p, new]
                        pin = p
                    at[p] += 1
                    upcoming[p] = times[at[p]] if at[p] < end[p] else NEVER
                following = min(following, upcoming[p])
            m = new
            value = np.int64(truth >> np.uint64(m)) & 1
            if value != function:
                function = value
                if sampled:
                    samples[queued] = now + least
                    causes[queued] = pin * 64 + m
                    queued += 1
                    if now + least < pending:
                        pending = now + least
                        cause = pin * 64 + m
                elif value != out:
                    pending = now + least
                    cause = pin * 64 + m
                else:
                    pending = NEVER
            now = following
        if pending != NEVER and function != out:
            out_times[used + length] = pending
            length += 1
            joules += internal[cause // 64, cause % 64]
        energy[c] = joules
        code = first + 2 * length
        for i in range(length):
            code = (code ^ np.int64(out_times[used + i])) * 0x100000001B3
            code ^= code >> 29
        place = code & mask
        found = table[place]
        while found >= 0:
            begin = out_start[found]
            if (
                out_level[found] == first
                and out_start[found + 1] - begin == length
                and _same(out_times, begin, used, length)
            ):
                break
            place = (place + 1) & mask
            found = table[place]
        if found < 0:
            found = waves
            table[place] = found
            out_level[found] = first
            used += length
            waves += 1
            out_start[waves] = used
        out_id[c] = found
    table[:] = -1
    return -1 if full else waves


@njit(nogil=True, cache=True)
@no_type_check
def launch_register(
    shown, level, start, times, truth, delay, internal, hidden, out_id, out_level, out_start, out_times, energy
):
    """Evaluate one register for every combination of its data pins' waveforms; arguments as in `evaluate_gate`.

    The output changes in one edge from the function of the settled levels before the transition to the function of
    those after it. The delay depends only on the direction of the edge. So there are four different waveforms: low,
    falling, rising, high.
    """
    pins, combinations = shown.shape
    for wave in range(4):
        out_level[wave] = wave & 1
        out_start[wave + 1] = (0, 1, 2, 2)[wave]
    out_start[0] = 0
    for c in range(combinations):
        m = 0
        after = 0
        joules = 0.0
        for p in range(pins):
            row = shown[p, c]
            now = np.int64(level[row])
            m |= now << p
            after |= (now ^ (start[row, 1] - start[row, 0] & 1)) << p
        for p in range(pins):
            row = shown[p, c]
            now = np.int64(level[row])
            for _ in range(start[row, 1] - start[row, 0]):
                now ^= 1
                joules += hidden[p, after & ~(1 << p) | now << p]
        old = np.int64(truth >> np.uint64(m)) & 1
        new = np.int64(truth >> np.uint64(after)) & 1
        out_id[c] = old + 2 * new
        if old != new:
            pin = 0
            for p in range(pins):
                if delay[p, after] < delay[pin, after]:
                    pin = p
            out_times[new] = delay[pin, after]
            joules += internal[pin, after]
        energy[c] = joules
    return 4
