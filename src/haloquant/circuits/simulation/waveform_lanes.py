"""Compiled loops over lanes: number the combinations of input waveforms, and sum edges and energy over lanes."""

from typing import no_type_check

from numba import njit


@njit(nogil=True, cache=True)
@no_type_check
def extend_keys(keys, ids, radix):
    """Set `keys[lane] = keys[lane] * radix + ids[lane]`. After all pins a key is a combination of waveforms."""
    for lane in range(keys.size):
        keys[lane] = keys[lane] * radix + ids[lane]


@njit(nogil=True, cache=True)
@no_type_check
def extend_keys_mapped(keys, ids, lane_map, radix):
    """Do the same as `extend_keys` for an input over another domain: `lane` has the waveform of `lane_map[lane]`."""
    for lane in range(keys.size):
        keys[lane] = keys[lane] * radix + ids[lane_map[lane]]


@njit(nogil=True, cache=True)
@no_type_check
def number_keys_direct(keys, table, number, lane_of):
    """Number the different keys from 0 in order of appearance, with a table that has an entry for every possible key.

    All entries of `table` are -1 before and after. The function fills `number[lane]` and `lane_of[number]`, the first
    lane with that number, and returns the count of different keys.
    """
    count = 0
    for lane in range(keys.size):
        key = keys[lane]
        found = table[key]
        if found < 0:
            found = count
            table[key] = found
            lane_of[found] = lane
            count += 1
        number[lane] = found
    for i in range(count):
        table[keys[lane_of[i]]] = -1
    return count


@njit(nogil=True, cache=True)
@no_type_check
def number_keys_hashed(keys, table, number, lane_of):
    """Do the same as `number_keys_direct` for large keys, by open addressing.

    The size of `table` is a power of two and at least twice the number of lanes.
    """
    count = 0
    mask = table.size - 1
    for lane in range(keys.size):
        key = keys[lane]
        place = (key * 0x9E3779B97F4A7C1 >> 20) & mask
        found = table[place]
        while found >= 0 and keys[lane_of[found]] != key:
            place = (place + 1) & mask
            found = table[place]
        if found < 0:
            found = count
            table[place] = found
            lane_of[found] = lane
            count += 1
        number[lane] = found
    for i in range(count):
        place = (keys[lane_of[i]] * 0x9E3779B97F4A7C1 >> 20) & mask
        while table[place] >= 0:
            table[place] = -1
            place = (place + 1) & mask
    return count


@njit(nogil=True, cache=True)
@no_type_check
def gather(out_id, number, ids):
    """Set `ids[lane] = out_id[number[lane]]`."""
    for lane in range(number.size):
        ids[lane] = out_id[number[lane]]


@njit(nogil=True, cache=True)
@no_type_check
def accumulate_totals(number, probability, out_id, out_start, energy, counted, totals):
    """Set `totals[d]` to the mean output edges and the mean energy (J) of distribution d; `counted` is scratch
    memory.
    """
    for d in range(probability.shape[0]):
        counted[: out_id.size] = 0.0
        for lane in range(number.size):
            counted[number[lane]] += probability[d, lane]
        edges = 0.0
        joules = 0.0
        for c in range(out_id.size):
            wave = out_id[c]
            edges += counted[c] * (out_start[wave + 1] - out_start[wave])
            joules += counted[c] * energy[c]
        totals[d, 0] = edges
        totals[d, 1] = joules


@njit(nogil=True, cache=True)
@no_type_check
def take_latest(latest, last, ids, lane_map):
    """Set `latest[lane]` to the maximum of itself and `last[ids[lane_map[lane]]]`."""
    for lane in range(latest.size):
        latest[lane] = max(latest[lane], last[ids[lane_map[lane]]])
