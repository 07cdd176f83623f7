"""Numba kernels that round weights to the words of their tile's codebook and search the scale that fits best.

Conventions of all kernels:

- `values[k, :sizes[k]]` are the ascending words of class k as floats.
- `importance` has one row for all output features, or one row per output feature.
- With a positive scale, a weight w takes the upper one of two neighbouring words if w > midpoint * scale. A weight
  exactly between two words takes the lower word.
- With a negative scale the codebook is mirrored (negated and reversed) and the scale is taken as positive.
- One thread computes a whole output row in a fixed order, so results do not depend on the number of threads.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit, prange

# The compiler may reorder vector reductions. It does so once, at compile time. NaN and infinity keep their meaning.
_FASTMATH = {"reassoc", "contract", "nsz"}
# Those of `quant.float16`, written here because numba compiles constants into machine code that it keeps for this file.
_LARGEST = np.float32(65504.0)
_SMALLEST = np.float32(2.0**-24)


@njit(cache=True)
@no_type_check
def to_float16(value):
    """Round a float32 to the nearest float16 (ties to even), clip it at +-65504, and return it as float32.

    Numba has no float16 on CPUs.
    """
    magnitude = abs(value)
    if magnitude >= _LARGEST:
        return _LARGEST if value > 0 else -_LARGEST
    if magnitude < np.float32(6.103515625e-05):  # subnormal float16: steps of 2^-24
        rounded = np.float32(np.rint(np.float64(value) * 16777216.0) / 16777216.0)
        return rounded
    _, exponent = math.frexp(np.float64(value))
    step = math.ldexp(1.0, exponent - 11)
    return np.float32(np.rint(np.float64(value) / step) * step)


@njit(cache=True, fastmath=_FASTMATH)
@no_type_check
def _nearest_words(weights, length, words, middles, size, scale, out):
    """Write the nearest word of every weight, unscaled: out[j] = words[number of midpoints below w / scale]."""
    first = words[0]
    for j in range(length):
        out[j] = first
    none = np.float32(0.0)
    for k in range(0, size - 1, 4):  # four words a pass save loads and stores; missing words have step 0
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


@njit(cache=True, fastmath=_FASTMATH)
@no_type_check
def _moments(weights, weighting, length, words):
    """Return the weighted moments A = <w, c> and B = <c, c> of weights w and words c.

    The least-squares scale is A / B. It lowers the weighted squared error from <w, w> by A * A / B.
    """
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
    """Write the negated words, ascending."""
    for k in range(size):
        mirrored[k] = -words[size - 1 - k]


@njit(cache=True)
@no_type_check
def _midpoints(words, size, middles):
    """Write the midpoint of every two neighbouring words."""
    for k in range(size - 1):
        middles[k] = np.float32(0.5) * (words[k] + words[k + 1])


@njit(cache=True, fastmath=_FASTMATH)
@no_type_check
def _largest(weights, length):
    """Return the largest magnitude."""
    top = np.float32(0.0)
    for j in range(length):
        top = max(top, abs(weights[j]))
    return top


@njit(cache=True)
@no_type_check
def _search_segment(weights, emphasis, plain, mirrored, middles, size, signs, trials, rounds, words):
    """Return the best scale of one scale group and the side it is for: 0 the words, 1 the mirrored words.

    The scale is positive and a float16 value. `signs` is 1 for a symmetric codebook (one side is enough), otherwise 2.
    """
    length = weights.size
    best_gain = np.float32(-1.0)
    # Fallback if all importance is on zero weights: the widest trial scale, so nothing is clipped.
    best = trials[trials.size - 1]
    side = 0
    place = centre = 0
    coarse = signs * ((trials.size + 1) // 2)
    for step in range(coarse + 2):
        # First every second trial of each side, then the two neighbours of the best trial.
        if step < coarse:
            sign, trial = step % signs, step // signs * 2
        else:
            centre = place if step == coarse else centre
            sign, trial = side, centre + (1 if step == coarse else -1)
        if trial < 0 or trial >= trials.size:
            continue
        table = plain if sign == 0 else mirrored
        _nearest_words(weights, length, table, middles[sign], size, trials[trial], words)
        cross, square = _moments(weights, emphasis, length, words)
        if square > 0 and cross > 0 and cross * (cross / square) > best_gain:
            best_gain = cross * (cross / square)
            best = cross / square
            side = sign
            place = trial
    table = plain if side == 0 else mirrored
    for _ in range(rounds):
        _nearest_words(weights, length, table, middles[side], size, best, words)
        cross, square = _moments(weights, emphasis, length, words)
        if square > 0 and cross > 0:
            best = cross / square
    best = to_float16(best)
    if best == 0:  # too small for float16
        best = _SMALLEST
    return best, side


@njit(parallel=True, cache=True)
@no_type_check
def search_and_round(
    weight, importance, classes, tile_out, tile_in, values, sizes, ratios, trials, rounds, scale, codes
):
    """Write the scale and the codes of every (output feature, tile).

    `ratios[k, :trials[k]]` are the scales to try for class k, in units of largest weight / largest word. For each
    trial scale the nearest words are assigned and compared by A * A / B (`_moments`), the decrease of the error with
    their least-squares scale. The best trial is refined by `rounds` of assigning words and fitting the scale. The
    result is rounded to float16, and the codes are taken with it. A segment of zeros gets scale 0 and the code of 0.
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
    """Write the codes of the nearest words; `middles` are those of the mirrored words if `side` is 1."""
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
def lookup(codes, scale, classes, tile_out, tile_in, values, out):
    """Write the word of every code times the scale of its (output feature, tile)."""
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
    """Add to counts[d, a, code] how often each code occurs in tile (d, a)."""
    out_features, in_features = codes.shape
    down, across = classes.shape
    for tile in prange(down * across):
        d = np.int64(tile) // across
        a = np.int64(tile) % across
        for row in range(d * tile_out, min((d + 1) * tile_out, out_features)):
            for j in range(a * tile_in, min((a + 1) * tile_in, in_features)):
                counts[d, a, codes[row, j]] += 1
