"""The compiled loops of static timing: constants and arrivals, gate by gate, for all weight values at once.

`single_value.time_single_value` is their reference implementation in plain Python.
"""

import typing

import numba
import numpy as np


@numba.njit(cache=True, error_model="numpy")
@typing.no_type_check
def propagate_constants(kind, input_start, input_net, output_start, output_net, truth_at, truth, state, code):
    """Fill `state` [net, weight] for the outputs of every gate, and `code` [gate, weight].

    A state is 0, 1, or 2 for free. A code holds the states of a gate's inputs as one base-3 number. Output `j` of cell
    type `k` has its truth table at `truth[truth_at[k, j]:]`. An output is constant if all rows that agree with the
    constant inputs have the same value.
    """
    for g in range(kind.shape[0]):
        first, inputs = input_start[g], input_start[g + 1] - input_start[g]
        for w in range(state.shape[1]):
            ternary, known, value, power = 0, 0, 0, 1
            for i in range(inputs):
                s = state[input_net[first + i], w]
                ternary += s * power
                power *= 3
                if s != 2:
                    known |= 1 << i
                    value |= s << i
            code[g, w] = ternary
            for j in range(output_start[g + 1] - output_start[g]):
                state[output_net[output_start[g] + j], w] = _constant_value(
                    truth, truth_at[kind[g], j], inputs, known, value
                )


@numba.njit(cache=True, error_model="numpy", inline="always")
@typing.no_type_check
def _constant_value(truth, at, inputs, known, value):
    """Return the common value of all rows with `row & known == value`, or 2 if they differ."""
    free = ((1 << inputs) - 1) & ~known
    first = truth[at + value]
    part = (0 - free) & free
    while part:
        if truth[at + (value | part)] != first:
            return 2
        part = (part - free) & free
    return first


@numba.njit(cache=True, error_model="numpy")
@typing.no_type_check
def fill_edge_masks(codes, inputs, tables, when, conditional, arc_input, arc_output, by_sense, masks, enabled):
    """Fill `masks` and `enabled` [case, arc] of one cell type, as in `case_analysis.Case`; both must be 0 at the start.

    `codes` are the input states as base-3 numbers. `tables` [output, row] and `when` [arc, row] are truth tables over
    the inputs. `by_sense` [arc] is the mask of the edge pairs that an arc has tables for.
    """
    arcs = arc_input.shape[0]
    can, certain = np.empty(arcs, np.bool_), np.empty(arcs, np.bool_)
    for c in range(codes.shape[0]):
        code, free, value = codes[c], 0, 0
        for i in range(inputs):
            if code % 3 == 2:
                free |= 1 << i
            else:
                value |= (code % 3) << i
            code //= 3
        for a in range(arcs):
            can[a], certain[a] = _condition_states(when[a], free, value)
        for a in range(arcs):
            on = can[a]
            if not conditional[a]:  # off if a conditional arc of the same pins applies in every row
                for b in range(arcs):
                    same = arc_input[a] == arc_input[b] and arc_output[a] == arc_output[b]
                    if same and conditional[b] and certain[b]:
                        on = False
            if not on:
                continue
            out = tables[arc_output[a]]
            if arc_input[a] >= inputs:
                zero, one = _contains_0_and_1(tables[arc_input[a] - inputs], free, value)
                low, high = _contains_0_and_1(out, free, value)
                if zero and one and low and high:
                    masks[c, a] = enabled[c, a] = by_sense[a]
                continue
            pin = 1 << arc_input[a]
            if free & pin == 0:
                continue
            rest, part, found = free & ~pin, 0, 0
            while True:
                row = value | part
                if out[row] != out[row | pin]:
                    enabled[c, a] = by_sense[a]
                    if when[a, row] or when[a, row | pin]:
                        found |= 0b1001 if out[row | pin] else 0b0110  # positive and negative pairs
                part = (part - rest) & rest
                if part == 0:
                    break
            masks[c, a] = found & by_sense[a]


@numba.njit(cache=True, error_model="numpy", inline="always")
@typing.no_type_check
def _condition_states(holds, free, value):
    """Return whether a condition can be true, and whether it must be true, in the rows that agree with the
    constants.
    """
    low, high = _contains_0_and_1(holds, free, value)
    return high, not low


@numba.njit(cache=True, error_model="numpy")
@typing.no_type_check
def _contains_0_and_1(table, free, value):
    """Return whether the rows that agree with the constants contain a 0, and whether they contain a 1."""
    low, high, part = False, False, 0
    while True:
        if table[value | part]:
            high = True
        else:
            low = True
        part = (part - free) & free
        if part == 0:
            return low, high


@numba.njit(cache=True, error_model="numpy")
@typing.no_type_check
def propagate_arrivals(
    kind, input_start, input_net, output_start, output_net,
    arc_start, arc_input, arc_output, tables, pool, load, case, masks, slew_masks, arrival, slew,
):  # fmt: skip
    """Fill `arrival` and `slew` [net, edge, weight] in place.

    Cell type `k` has the arcs `arc_start[k] .. arc_start[k + 1] - 1`. Each leads from one of its pins (inputs, then
    outputs) to one of its outputs. Arcs that end at an output come before arcs that start at it.
    `tables[arc, output edge, (delay, slew)]` holds five numbers: the offsets of the row axis, of the column axis and of
    the values in `pool`, and the counts of rows and columns (0 rows: no table). `case[g, w]` is a row of `masks` and
    `slew_masks`: the edge pairs for which each arc of gate g propagates arrivals, and those for which it propagates
    slews.
    """
    longest = 1
    for a in range(tables.shape[0]):
        for e in range(2):
            longest = max(longest, tables[a, e, 0, 3], tables[a, e, 1, 3])
    delays, slews = np.empty(longest), np.empty(longest)
    for g in range(kind.shape[0]):
        first_arc = arc_start[kind[g]]
        for a in range(first_arc, arc_start[kind[g] + 1]):
            inputs = input_start[g + 1] - input_start[g]
            if arc_input[a] < inputs:
                source = input_net[input_start[g] + arc_input[a]]
            else:
                source = output_net[output_start[g] + arc_input[a] - inputs]
            target = output_net[output_start[g] + arc_output[a]]
            for output_edge in range(2):
                d, s = tables[a, output_edge, 0], tables[a, output_edge, 1]
                if d[3] == 0 or s[3] == 0:
                    continue
                _at_load(pool, d, load[output_edge, target], delays)
                _at_load(pool, s, load[output_edge, target], slews)
                for input_edge in range(2):
                    bit = 1 << (2 * input_edge + output_edge)
                    for w in range(arrival.shape[2]):
                        before = arrival[source, input_edge, w]
                        c = case[g, w]
                        if slew_masks[c, a - first_arc] & bit == 0 or before == -np.inf:
                            continue
                        x = slew[source, input_edge, w]
                        if masks[c, a - first_arc] & bit:
                            at = before + _read(pool, d[0], d[3], delays, x)
                            if at > arrival[target, output_edge, w]:
                                arrival[target, output_edge, w] = at
                        out = _read(pool, s[0], s[3], slews, x)
                        if out > slew[target, output_edge, w]:
                            slew[target, output_edge, w] = out


@numba.njit(cache=True, error_model="numpy")
@typing.no_type_check
def _at_load(pool, table, y, out):
    """Reduce a table to a function of the slew: interpolate along the load, and continue the outermost segments."""
    columns, values, rows, count = table[1], table[2], table[3], table[4]
    j, v, step = 0, 0.0, 0
    if count > 1:
        while j < count - 2 and y >= pool[columns + j + 1]:
            j += 1
        v = (y - pool[columns + j]) / (pool[columns + j + 1] - pool[columns + j])
        step = 1
    for i in range(rows):
        at = values + i * count + j
        out[i] = (1.0 - v) * pool[at] + v * pool[at + step]


@numba.njit(cache=True, error_model="numpy", inline="always")
@typing.no_type_check
def _read(pool, axis, n, values, x):
    """Interpolate linearly over the input slew, and continue the outermost segments."""
    if n == 1:
        return values[0]
    i = 0
    while i < n - 2 and x >= pool[axis + i + 1]:
        i += 1
    left = pool[axis + i]
    u = (x - left) / (pool[axis + i + 1] - left)
    return (1.0 - u) * values[i] + u * values[i + 1]
