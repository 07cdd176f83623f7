"""What one token needs of a decoder block between the products with its weights: norms, rotation, attention, gate.

Numbers are float32. Weights of norms, biases, and keys and values may also be bfloat16, given as their 16 bits. Every
function is also plain Python (`py_func`), with which the tests compare the compiled code.
"""

from typing import Any, no_type_check

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

# Additions in any order, and products fused with additions; infinities and NaN stay what they are.
VECTORIZED = {"reassoc", "contract", "arcp", "nsz"}


def widened(value: Any) -> Any:
    """Return a number as float32; an integer holds the bits of a bfloat16."""
    if isinstance(value, np.integer):
        return np.uint32(int(value) << 16).view(np.float32)
    return value


@overload(widened, inline="always")
def _widened(value):
    if isinstance(value, types.Integer):
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


def narrowed(value: Any, like: Any) -> Any:
    """Return a float32 as it is stored where `like` is: as it is, or as the bits of the nearest bfloat16."""
    if not isinstance(like, np.integer):
        return value
    if np.isnan(value):
        return np.uint16(0x7FC0)
    bits = int(np.float32(value).view(np.uint32))
    return np.uint16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)  # a tie goes to the even one


@overload(narrowed, inline="always")
def _narrowed(value, like):
    if isinstance(like, types.Integer):

        def nearest(value, like):
            bits = np.uint32(np.float32(value).view(np.uint32))
            if np.isnan(value):
                return np.uint16(0x7FC0)
            return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> 16)

        return nearest
    return lambda value, like: value


@njit(cache=True)
@no_type_check
def append(keys, values, at, key, value):
    """Store f32 [groups, head] at place `at` of keys and values [groups, room, head], float32 or bits of bfloat16."""
    for group in range(key.shape[0]):
        for i in range(key.shape[1]):
            keys[group, at, i] = narrowed(key[group, i], keys[group, at, i])
            values[group, at, i] = narrowed(value[group, i], values[group, at, i])


@njit(cache=True, fastmath=VECTORIZED)
@no_type_check
def add_norm(x, added, weight, epsilon, out):
    """Add `added` to x, and write weight * x / sqrt(mean(x^2) + epsilon) to `out`; all [hidden]."""
    squares = np.float32(0)
    for i in range(x.size):
        x[i] += added[i]
        squares += x[i] * x[i]
    factor = np.float32(1) / np.sqrt(squares / np.float32(x.size) + np.float32(epsilon))
    for i in range(x.size):
        out[i] = widened(weight[i]) * (x[i] * factor)


@njit(cache=True)
@no_type_check
def add_bias(y, bias):
    """Add a bias to y [outputs]."""
    for i in range(y.size):
        y[i] += widened(bias[i])


@njit(cache=True, fastmath=VECTORIZED)
@no_type_check
def head_norms(x, weight, epsilon):
    """Replace each row of x [heads, head] by weight * row / sqrt(mean(row^2) + epsilon)."""
    for head in range(x.shape[0]):
        squares = np.float32(0)
        for i in range(x.shape[1]):
            squares += x[head, i] * x[head, i]
        factor = np.float32(1) / np.sqrt(squares / np.float32(x.shape[1]) + np.float32(epsilon))
        for i in range(x.shape[1]):
            x[head, i] = widened(weight[i]) * (x[head, i] * factor)


@njit(cache=True, fastmath=VECTORIZED)
@no_type_check
def rotate(x, cosine, sine):
    """Rotate each row of x [heads, head] by its position: pairs are an element and the one half a row behind it."""
    half = x.shape[1] // 2
    for head in range(x.shape[0]):
        for i in range(half):
            first, second = x[head, i], x[head, i + half]
            x[head, i] = first * cosine[i] - second * sine[i]
            x[head, i + half] = second * cosine[i + half] + first * sine[i + half]


@njit(parallel=True, cache=True, fastmath=VECTORIZED)
@no_type_check
def attend(query, keys, values, tokens, scale, out):
    """Write softmax(scale * query keys^T) values to `out` [heads, head].

    Args:
        query: f32 [heads, head].
        keys: [groups, tokens or more, head], float32 or bits of bfloat16; heads/groups queries share each group.
        values: the same.
        tokens: how many of the keys and values count.
        scale: factor of the products.
        out: the results.
    """
    heads, size = query.shape
    shared = heads // keys.shape[0]
    for each in prange(heads):
        head = np.int64(each)
        group = head // shared
        weights = np.empty(tokens, np.float32)
        top = np.float32(-np.inf)
        for t in range(tokens):
            product = np.float32(0)
            for i in range(size):
                product += query[head, i] * widened(keys[group, t, i])
            weights[t] = product * np.float32(scale)
            top = max(top, weights[t])
        total = np.float32(0)
        for t in range(tokens):
            weights[t] = exponential(weights[t] - top)
            total += weights[t]
        found = np.zeros(size, np.float32)
        for t in range(tokens):
            for i in range(size):
                found[i] += weights[t] * widened(values[group, t, i])
        for i in range(size):
            out[head, i] = found[i] / total


@njit(inline="always")
@no_type_check
def exponential(x):
    """Return e^x for float32, within 2 units in the last place where that is a normal number; vectors can hold it.

    x = n ln 2 + r with |r| <= ln 2 / 2. e^r is a polynomial (the Taylor series up to r^7, whose rest is below 2^-27),
    and 2^n is made of the bits of its exponent, in two halves, so that n may reach from -252 to 254.
    """
    bounded = min(max(x, np.float32(-104)), np.float32(89))
    n = np.floor(bounded * np.float32(1.4426950408889634) + np.float32(0.5))
    r = (bounded - n * np.float32(0.693359375)) + n * np.float32(2.12194440054690583e-4)
    found = np.float32(1 / 5040)
    found = found * r + np.float32(1 / 720)
    found = found * r + np.float32(1 / 120)
    found = found * r + np.float32(1 / 24)
    found = found * r + np.float32(1 / 6)
    found = found * r + np.float32(0.5)
    found = found * r + np.float32(1)
    found = found * r + np.float32(1)
    whole = np.int32(n)
    half = whole >> np.int32(1)
    first = np.int32((half + np.int32(127)) << np.int32(23)).view(np.float32)
    second = np.int32((whole - half + np.int32(127)) << np.int32(23)).view(np.float32)
    return found * first * second


@njit(cache=True, fastmath=VECTORIZED)
@no_type_check
def gate_with(gate, x):
    """Multiply x by silu(gate) = gate / (1 + exp(-gate)); both [inputs]."""
    for i in range(x.size):
        x[i] *= gate[i] / (np.float32(1) + exponential(-gate[i]))
