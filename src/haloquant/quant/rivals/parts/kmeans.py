"""Weighted k-means of many short rows of numbers: the exact optimum, and Lloyd's iteration.

On a line an optimal cluster is an interval of the sorted values. So k-means is a shortest path over n points in k steps
(Wang and Song, "Ckmeans.1d.dp", 2011). Its cost obeys the quadrangle inequality: when the end of the interval moves to
the right, its best start does not move to the left. So divide and conquer finds all starts of one step in O(n log n).
"""

from typing import Literal, no_type_check

import numpy as np
from jaxtyping import Float32
from numba import njit, prange

Solver = Literal["exact", "lloyd"]
_CHUNK = 128  # rows whose float64 prefix sums are in memory at the same time


def centroids(
    values: Float32[np.ndarray, "rows n"],
    weights: Float32[np.ndarray, "rows n"],
    count: int,
    solver: Solver,
    iterations: int = 50,
) -> Float32[np.ndarray, "rows count"]:
    """Return the centroids of every row that minimize sum_i weights_i (values_i - nearest centroid)^2.

    Args:
        values: the numbers.
        weights: at least 0. In a row without a positive weight all numbers count the same.
        count: centroids per row.
        solver: "exact" finds the optimum; "lloyd" starts from intervals with equally many numbers and iterates.
        iterations: greatest number of iterations of "lloyd".

    Returns:
        Ascending centroids. They repeat if a row has fewer distinct numbers than centroids.
    """
    result = np.empty((values.shape[0], count), np.float32)
    for start in range(0, values.shape[0], _CHUNK):
        rows = slice(start, start + _CHUNK)
        result[rows] = _chunk(values[rows], weights[rows], count, iterations if solver == "lloyd" else 0)
    return result


def _chunk(values: np.ndarray, weights: np.ndarray, count: int, iterations: int) -> np.ndarray:
    """Return the centroids of some rows (see `centroids`); 0 iterations means the exact optimum."""
    order = np.argsort(values, axis=1, kind="stable")
    ascending = np.take_along_axis(values, order, axis=1).astype(np.float64)
    weight = np.take_along_axis(weights, order, axis=1).astype(np.float64)
    total = weight.sum(axis=1, keepdims=True)
    weight = np.where(total > 0, weight, 1.0) / np.where(total > 0, total, values.shape[1])
    # Values are taken relative to the middle one, so that prefix sums of squares do not lose the small differences.
    middle = ascending[:, values.shape[1] // 2, None].copy()
    ascending -= middle
    moments = np.zeros((3, values.shape[0], values.shape[1] + 1))
    for power in range(3):
        np.cumsum(weight * ascending**power, axis=1, out=moments[power, :, 1:])
    result = np.empty((values.shape[0], count))
    _solve(ascending, moments[0], moments[1], moments[2], iterations, result)
    return (result + middle).astype(np.float32)


def assign(
    values: Float32[np.ndarray, "rows n"], table: Float32[np.ndarray, "rows count"]
) -> Float32[np.ndarray, "rows n"]:
    """Return the nearest of each row's ascending centroids. A tie goes to the lower centroid."""
    result = np.empty_like(values)
    _nearest(values, table, result)
    return result


@njit(cache=True, parallel=True)
@no_type_check
def _solve(ascending, mass, first, second, iterations, result):
    """Write the centroids of every row from prefix sums of weight, weight * value and weight * value^2.

    An interval without weight repeats the centroid before it.
    """
    count = result.shape[1]
    for r in prange(ascending.shape[0]):
        if iterations > 0:
            edges = _lloyd(ascending[r], mass[r], first[r], count, iterations)
        else:
            edges = _shortest_path(mass[r], first[r], second[r], count)
        last = ascending[r, 0]
        for k in range(count):
            i, j = edges[k], edges[k + 1]
            if mass[r, j] > mass[r, i]:
                last = (first[r, j] - first[r, i]) / (mass[r, j] - mass[r, i])
            result[r, k] = last


@njit(cache=True)
@no_type_check
def _lloyd(value, mass, first, count, iterations):
    """Return the ends of the intervals after Lloyd's iteration. Intervals without weight are dropped."""
    n = value.size
    edges = np.empty(count + 1, np.int64)
    for k in range(count + 1):
        edges[k] = k * n // count
    for _ in range(iterations):
        means = np.empty(count)
        held = 0
        for k in range(count):
            if mass[edges[k + 1]] > mass[edges[k]]:
                means[held] = (first[edges[k + 1]] - first[edges[k]]) / (mass[edges[k + 1]] - mass[edges[k]])
                held += 1
        moved = np.full(count + 1, n, np.int64)
        moved[0] = 0
        for k in range(1, held):
            moved[k] = np.searchsorted(value, 0.5 * (means[k - 1] + means[k]), side="right")
        same = True
        for k in range(count + 1):
            same = same and moved[k] == edges[k]
        if same:
            break
        edges = moved
    return edges


@njit(cache=True)
@no_type_check
def _shortest_path(mass, first, second, count):
    """Return the ends of the `count` intervals of least cost, by divide and conquer.

    The stack holds ranges (low, high) of interval ends to solve, and the range (left, right) of their best starts.
    """
    n = mass.size - 1
    cost = np.empty(n + 1)
    cost[0] = 0.0
    for j in range(1, n + 1):
        cost[j] = _within(mass, first, second, 0, j)
    split = np.zeros((count, n + 1), np.int32)
    stack = np.empty((128, 4), np.int64)
    for k in range(1, count):
        better = np.empty(n + 1)
        depth = 1
        stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = 0, n, 0, n
        while depth > 0:
            depth -= 1
            low, high, left, right = stack[depth]
            j = (low + high) // 2
            best, where = np.inf, left
            for i in range(left, min(j, right) + 1):
                trial = cost[i] + _within(mass, first, second, i, j)
                if trial < best:
                    best, where = trial, i
            better[j], split[k, j] = best, where
            if j > low:
                stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = low, j - 1, left, where
                depth += 1
            if j < high:
                stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = j + 1, high, where, right
                depth += 1
        cost = better
    edges = np.empty(count + 1, np.int64)
    edges[count] = n
    for k in range(count - 1, 0, -1):
        edges[k] = split[k, edges[k + 1]]
    edges[0] = 0
    return edges


@njit(cache=True, inline="always")
@no_type_check
def _within(mass, first, second, i, j):
    """Return the weighted squared error of the values i .. j - 1 about their mean."""
    weight = mass[j] - mass[i]
    if weight <= 0:
        return 0.0
    moment = first[j] - first[i]
    return max(second[j] - second[i] - moment * moment / weight, 0.0)


@njit(cache=True)
@no_type_check
def _nearest(values, table, result):
    """Write the nearest of each row's ascending centroids for every value."""
    for r in range(values.shape[0]):
        for i in range(values.shape[1]):
            best = table[r, 0]
            for k in range(1, table.shape[1]):
                if values[r, i] > np.float32(0.5) * (table[r, k - 1] + table[r, k]):
                    best = table[r, k]
            result[r, i] = best
