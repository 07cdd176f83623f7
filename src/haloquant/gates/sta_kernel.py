"""The compiled sweep of `sta`: arrivals and slews through every gate, all weights side by side."""

import typing

import numba
import numpy as np


@numba.njit(cache=True, error_model="numpy")
@typing.no_type_check
def sweep(case, masks, slew_masks, arc_start, from_net, to_net, where, pool, arrival, slew):
    """Fill `arrival` and `slew` [net, edge, weight] in place (the caller's own, seen by nobody else).

    `case[g, w]` numbers the row of `masks` that says which pairs of edges each arc of gate g lets through, and of
    `slew_masks`, which says whose slews count; the rest is as `sta._arcs` returns it. `sta_reference.time_one` is the
    slow twin.
    """
    width = arrival.shape[2]
    for g in range(case.shape[0]):
        for a in range(arc_start[g], arc_start[g + 1]):
            source, target = from_net[a], to_net[a]
            if target < 0:
                continue
            for output_edge in range(2):
                d_axis, d_at, d_n = where[a, output_edge, 0]
                s_axis, s_at, s_n = where[a, output_edge, 1]
                if d_n == 0 or s_n == 0:
                    continue
                for input_edge in range(2):
                    bit = 1 << (2 * input_edge + output_edge)
                    for w in range(width):
                        before = arrival[source, input_edge, w]
                        which = case[g, w], a - arc_start[g]
                        if slew_masks[which] & bit == 0 or before == -np.inf:
                            continue
                        x = slew[source, input_edge, w]
                        if masks[which] & bit:
                            at = before + _read(pool, d_axis, d_at, d_n, x)
                            if at > arrival[target, output_edge, w]:
                                arrival[target, output_edge, w] = at
                        out = _read(pool, s_axis, s_at, s_n, x)
                        if out > slew[target, output_edge, w]:
                            slew[target, output_edge, w] = out


@numba.njit(cache=True, error_model="numpy", inline="always")
@typing.no_type_check
def _read(pool, axis, at, n, x):
    """Linear interpolation over the input slew, the outermost segments continued."""
    if n == 1:
        return pool[at]
    i = 0
    while i < n - 2 and x >= pool[axis + i + 1]:
        i += 1
    left = pool[axis + i]
    u = (x - left) / (pool[axis + i + 1] - left)
    return (1.0 - u) * pool[at + i] + u * pool[at + i + 1]
