"""Waveforms as a dictionary: the few different ones a net can show, and which of them it shows in each transition.

A *lane* is one transition of the inputs. A net's waveform in one lane is its level before the transition and the times
at which it toggles. Over the 65,536 transitions of eight activation bits most nets show far fewer than 65,536 different
waveforms, so a net is kept as `Waveforms` (the different ones) plus one index per lane. A gate is then evaluated
once for every different *combination* of its inputs' waveforms, and counted as often as the combination occurs.

Times are integers (fs), so that equality is equality and nothing depends on the order of summation.

The filter (what a gate makes of input changes closer together than its own delay):

- `INERTIAL`: one pending output change at a time. A change of the function's value while one is pending takes the
  pending one back, and the pulse shorter than the delay never shows. This is what IEEE 1364-2005, 14.6 says of module
  paths whose pulse limits equal the delay (the default).
- `SAMPLED`: what Icarus Verilog's `vvp` does for module paths: every change of the function's value schedules a look
  at the function after the delay, and the output takes the value the function has *then*. It differs where a change
  was taken back and came again: the earlier look shows it early.

When several inputs change in the same instant they change together, and the output follows after the least of their
delays (so does Icarus).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, no_type_check

import numpy as np
from jaxtyping import Int32, UInt8
from numba import njit

NEVER: Final = 2**31 - 1


class Filter(IntEnum):
    """What a gate does with pulses shorter than its delay."""

    INERTIAL = 0
    SAMPLED = 1


@dataclass(frozen=True, eq=False, slots=True)
class Waveforms:
    """Different waveforms of a net: number u starts at `level[u]` and toggles at `times_fs[start[u]:start[u+1]]`."""

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
        shown: [pin, combination], which row of `level` and `start` each pin shows.
        level: level before the transition of every waveform of every pin.
        start: [row, 2], where in `times` a waveform begins and ends.
        times: toggle times, ascending within a waveform, fs.
        truth: the function, bit m its value where pin p has level `m >> p & 1`.
        delay: [pin, m], delay (fs, at least 1) where the change of that pin leads to minterm m.
        internal: [pin, m], energy (J) of an output edge so caused.
        hidden: [pin, m], energy (J) of the input edge itself.
        sampled: the filter.
        table: for the output's waveforms; all -1 before and after, a power of two, twice the combinations.
        out_id: [combination], filled with the index of the output's waveform.
        out_level: filled with the levels of the different output waveforms.
        out_start: filled with where they begin in `out_times`, one more than waveforms.
        out_times: filled with their toggle times.
        energy: [combination], filled with internal energy (J).

    Returns:
        How many different waveforms the output has, or -1 where `out_times` is too short (nothing is then of use).
    """
    pins, combinations = shown.shape
    at = np.empty(pins, np.int64)
    end = np.empty(pins, np.int64)
    upcoming = np.empty(pins, np.int32)
    looks = np.empty(1, np.int32)
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
        if sampled and looks.size < longest:
            looks = np.empty(longest, np.int32)
            causes = np.empty(longest, np.int64)
        first = np.int64(truth >> np.uint64(m)) & 1
        function = first
        out = first
        joules = 0.0
        length = 0
        pending = NEVER
        cause = 0
        waiting = 0
        while now != NEVER:
            if pending <= now:  # what was pending shows, also in the very instant of the next change
                if function != out:
                    out_times[used + length] = pending
                    length += 1
                    out = function
                    joules += internal[cause // 64, cause % 64]
                pending = NEVER
                if sampled:  # looks of the same interval see the same value
                    kept = 0
                    for i in range(waiting):
                        if looks[i] > now:
                            looks[kept] = looks[i]
                            causes[kept] = causes[i]
                            kept += 1
                            if looks[kept - 1] < pending:
                                pending = looks[kept - 1]
                                cause = causes[kept - 1]
                    waiting = kept
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
                    looks[waiting] = now + least
                    causes[waiting] = pin * 64 + m
                    waiting += 1
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

    Its output goes from the function of the settled levels before to that of the settled levels after, in one edge,
    whose delay depends on its direction only. So there are four different waveforms: low, falling, rising, high.
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
