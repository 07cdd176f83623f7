"""Numba kernels that put weights on the words of their tile's codebook, and find the scale that suits them best.

Shared conventions. `values[k, :sizes[k]]` are the ascending float words of class k. `importance` has one row, or one
per output feature. A word is nearest by its midpoints: w belongs above the midpoint m of two words if w > m * scale,
so a tie goes to the lower word. For a negative scale the codebook is mirrored, then handled as positive. Every output
row is made by one thread in one order, so results do not depend on the number of threads.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit, prange

# Vector reductions may be reordered at compile time, which is fixed; NaN and infinity keep their meaning.
FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True)
@no_type_check
def to_half(value):
    """Nearest float16 of a float32 (ties to even), kept as float32, clipped at +-65504; Numba lacks float16 on CPUs."""
    magnitude = abs(value)
    if magnitude >= np.float32(65504.0):
        return np.float32(65504.0) if value > 0 else np.float32(-65504.0)
    if magnitude < np.float32(6.103515625e-05):  # subnormal: steps of 2^-24
        rounded = np.float32(np.rint(np.float64(value) * 16777216.0) / 16777216.0)
        return rounded
    _, exponent = math.frexp(np.float64(value))
    step = math.ldexp(1.0, exponent - 11)
    return np.float32(np.rint(np.float64(value) / step) * step)


@njit(cache=True, fastmath=FAST)
@no_type_check
def _decode(weights, length, words, middles, size, scale, out):
    """Nearest word of every weight (in words, not scaled): out[j] = words[number of midpoints below w / scale]."""
    first = words[0]
    for j in range(length):
        out[j] = first
    none = np.float32(0.0)
    for k in range(0, size - 1, 4):  # four at a time: fewer loads and stores; a step of 0 where there are no four
        k1, k2, k3 = min(k + 1, size - 2), min(k + 2, size - 2), min(k + 3, size - 2)
        m0, m1, m2, m3 = middles[k] * scale, middles[k1] * scale, middles[k2] * scale, middles[k3] * scale
        s0 = words[k + 1] - words[k]
        s1 = words[k1 + 1] - words[k1] if k1 == k + 1 else none
        s2 = words[k2 + 1] - words[k2] if k2 == k + 2 else none
        s3 = words[k3 + 1] - words[k3] if k3 == k + 3 else none
        for j in range(length):
            w = weights[j]
            low = (s0 if w > m0 else none) + (s1 if w > m1 else none)
            out[j] += low + (s2 if w > m2 else none) + (s3 if w > m3 else none)


@njit(cache=True, fastmath=FAST)
@no_type_check
def _moments(weights, weighting, length, words):
    """Weighted moments <w, c> and <c, c>: the least-squares scale is their quotient, the error it saves A * A / B."""
    cross = np.float32(0.0)
    square = np.float32(0.0)
    for j in range(length):
        product = weighting[j] * words[j]
        cross += product * weights[j]
        square += product * words[j]
    return cross, square


@njit(cache=True)
@no_type_check
def _mirror(words, size, mirrored):
    for k in range(size):
        mirrored[k] = -words[size - 1 - k]


@njit(cache=True)
@no_type_check
def _midpoints(words, size, middles):
    for k in range(size - 1):
        middles[k] = np.float32(0.5) * (words[k] + words[k + 1])


@njit(cache=True, fastmath=FAST)
@no_type_check
def _largest(weights, length):
    top = np.float32(0.0)
    for j in range(length):
        top = max(top, abs(weights[j]))
    return top


@njit(cache=True)
@no_type_check
def _search_segment(weights, emphasis, plain, mirrored, middles, size, signs, trials, rounds, words):
    """Best scale of one scale group, positive and a float16, and whether it is for the mirrored words (side 1)."""
    length = weights.size
    best_gain = np.float32(-1.0)
    best = trials[trials.size - 1]  # every weight that matters is 0: a range that clips nothing serves the rest
    side = 0
    place = centre = 0
    coarse = signs * ((trials.size + 1) // 2)
    for step in range(coarse + 2):
        # Every other trial of each sign first, then the two neighbours of the best.
        if step < coarse:
            sign, trial = step % signs, step // signs * 2
        else:
            centre = place if step == coarse else centre
            sign, trial = side, centre + (1 if step == coarse else -1)
        if trial < 0 or trial >= trials.size:
            continue
        table = plain if sign == 0 else mirrored
        _decode(weights, length, table, middles[sign], size, trials[trial], words)
        cross, square = _moments(weights, emphasis, length, words)
        if square > 0 and cross > 0 and cross * (cross / square) > best_gain:
            best_gain = cross * (cross / square)
            best = cross / square
            side = sign
            place = trial
    table = plain if side == 0 else mirrored
    for _ in range(rounds):
        _decode(weights, length, table, middles[side], size, best, words)
        cross, square = _moments(weights, emphasis, length, words)
        if square > 0 and cross > 0:
            best = cross / square
    best = to_half(best)
    if best == 0:  # smaller than float16 can say: its smallest step
        best = np.float32(5.960464477539063e-08)
    return best, side


@njit(parallel=True, cache=True)
@no_type_check
def search_and_round(
    weight, importance, classes, tile_out, tile_in, values, sizes, ratios, trials, rounds, scale, codes
):
    """Scale and codes of every (output feature, tile): a grid of scales, each judged with its own least-squares refit.

    `ratios[k, :trials[k]]` are the scales to try for class k, in units of largest weight over largest word. For each
    candidate the words are assigned, then A * A / B tells how good those words are with their best scale.
    The best start is refined by `rounds` of assign-and-refit, rounded to float16, and the codes are taken with that
    scale.
    """
    out_features, in_features = weight.shape
    classes_n, most = values.shape
    mirrored = np.empty((classes_n, most), np.float32)
    middles = np.empty((2, classes_n, most), np.float32)
    signs = np.empty(classes_n, np.int64)
    reach = np.empty(classes_n, np.float32)
    for k in range(classes_n):
        size = sizes[k]
        _mirror(values[k], size, mirrored[k])
        _midpoints(values[k], size, middles[0, k])
        _midpoints(mirrored[k], size, middles[1, k])
        signs[k] = 1
        reach[k] = max(abs(values[k, 0]), abs(values[k, size - 1]))
        for i in range(size):
            if values[k, i] != mirrored[k, i]:
                signs[k] = 2
    across = (in_features + tile_in - 1) // tile_in
    shared = importance.shape[0] == 1
    for row in prange(out_features):
        words = np.empty(tile_in, np.float32)
        weighting = importance[0] if shared else importance[row]
        for a in range(across):
            low = a * tile_in
            length = min(tile_in, in_features - low)
            k = classes[np.int64(row) // tile_out, a]
            size = sizes[k]
            segment = weight[row, low : low + length]
            emphasis = weighting[low : low + length]
            top = _largest(segment, length)
            zero = 0
            while values[k, zero] != 0:
                zero += 1
            if top == 0:
                scale[row, a] = 0.0
                for j in range(length):
                    codes[row, low + j] = zero
                continue
            best, side = _search_segment(
                segment,
                emphasis,
                values[k],
                mirrored[k],
                middles[:, k],
                size,
                signs[k],
                top / reach[k] * ratios[k, : trials[k]],
                rounds,
                words,
            )
            scale[row, a] = best if side == 0 else -best
            _write_codes(segment, length, middles[side, k], size, best, side, codes[row, low : low + length])


@njit(cache=True)
@no_type_check
def _write_codes(weights, length, middles, size, scale, side, codes):
    for j in range(length):
        codes[j] = 0
    for k in range(size - 1):
        limit = middles[k] * scale
        for j in range(length):
            codes[j] += np.uint8(1) if weights[j] > limit else np.uint8(0)
    if side == 1:
        for j in range(length):
            codes[j] = np.uint8(size - 1) - codes[j]


@njit(parallel=True, cache=True)
@no_type_check
def round_nearest(weight, scale, classes, tile_out, tile_in, values, sizes, codes):
    """Codes of the nearest words under given scales."""
    out_features, in_features = weight.shape
    most = values.shape[1]
    for row in prange(out_features):
        words = np.empty(most, np.float32)
        middles = np.empty(most, np.float32)
        for a in range(scale.shape[1]):
            low = a * tile_in
            length = min(tile_in, in_features - low)
            k = classes[np.int64(row) // tile_out, a]
            size = sizes[k]
            side = 1 if scale[row, a] < 0 else 0
            if side == 1:
                _mirror(values[k], size, words)
            else:
                words[:size] = values[k, :size]
            _midpoints(words, size, middles)
            target = codes[row, low : low + length]
            if scale[row, a] == 0:  # all words are the same weight, 0: take the word 0
                zero = 0
                while values[k, zero] != 0:
                    zero += 1
                for j in range(length):
                    target[j] = zero
            else:
                _write_codes(weight[row, low : low + length], length, middles, size, abs(scale[row, a]), side, target)


@njit(parallel=True, cache=True)
@no_type_check
def moments(weight, importance, scale, classes, tile_out, tile_in, values, sizes, cross, square):
    """Weighted <w, c> and <c, c> of every (output feature, tile), words assigned under given scales."""
    out_features, in_features = weight.shape
    most = values.shape[1]
    shared = importance.shape[0] == 1
    for row in prange(out_features):
        table = np.empty(most, np.float32)
        middles = np.empty(most, np.float32)
        words = np.empty(tile_in, np.float32)
        weighting = importance[0] if shared else importance[row]
        for a in range(scale.shape[1]):
            low = a * tile_in
            length = min(tile_in, in_features - low)
            k = classes[np.int64(row) // tile_out, a]
            size = sizes[k]
            negative = scale[row, a] < 0
            if negative:
                _mirror(values[k], size, table)
            else:
                table[:size] = values[k, :size]
            _midpoints(table, size, middles)
            segment = weight[row, low : low + length]
            _decode(segment, length, table, middles, size, abs(scale[row, a]), words)
            found, norm = _moments(segment, weighting[low : low + length], length, words)
            cross[row, a] = -found if negative else found
            square[row, a] = norm


@njit(parallel=True, cache=True)
@no_type_check
def lookup(codes, scale, classes, tile_out, tile_in, values, out):
    """Out = word of the code times the scale."""
    out_features, in_features = codes.shape
    for row in prange(out_features):
        for a in range(scale.shape[1]):
            k = classes[np.int64(row) // tile_out, a]
            factor = scale[row, a]
            for j in range(a * tile_in, min((a + 1) * tile_in, in_features)):
                out[row, j] = values[k, codes[row, j]] * factor


@njit(parallel=True, cache=True)
@no_type_check
def count_codes(codes, classes, tile_out, tile_in, counts):
    """counts[d, a, code] of every tile."""
    out_features, in_features = codes.shape
    down, across = classes.shape
    for tile in prange(down * across):
        d = np.int64(tile) // across
        a = np.int64(tile) % across
        for row in range(d * tile_out, min((d + 1) * tile_out, out_features)):
            for j in range(a * tile_in, min((a + 1) * tile_in, in_features)):
                counts[d, a, codes[row, j]] += 1
