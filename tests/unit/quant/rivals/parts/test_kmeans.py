"""Weighted k-means against brute force, a plain dynamic programme and scikit-learn."""

import itertools

import numpy as np
import pytest

from haloquant.quant.rivals.parts import kmeans


def cost(values, weights, table):
    return float((weights * np.min((values[:, None] - table[None, :]) ** 2, axis=1)).sum())


def brute_force(values, weights, count):
    """Every way to cut the sorted values into at most `count` intervals."""
    order = np.argsort(values)
    v, w = values[order].astype(float), weights[order].astype(float)
    least = np.inf
    for cuts in itertools.combinations(range(1, len(v)), min(count, len(v)) - 1):
        edges = [0, *cuts, len(v)]
        total = 0.0
        for a, b in itertools.pairwise(edges):
            if w[a:b].sum() > 0:
                mean = (w[a:b] * v[a:b]).sum() / w[a:b].sum()
                total += (w[a:b] * (v[a:b] - mean) ** 2).sum()
        least = min(least, total)
    return least


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_exact_equals_brute_force(count):
    rng = np.random.default_rng(count)
    values = rng.normal(size=(30, 9)).astype(np.float32)
    weights = rng.chisquare(1, size=(30, 9)).astype(np.float32)
    table = kmeans.centroids(values, weights, count, "exact")
    for v, w, t in zip(values, weights, table, strict=True):
        assert cost(v, w, t) == pytest.approx(brute_force(v, w, count), rel=1e-4, abs=1e-7)


def plain_dynamic_programme(values, weights, count):
    order = np.argsort(values)
    v, w = values[order].astype(float), weights[order].astype(float)
    n = len(v)
    m, f, s = (np.concatenate([[0], np.cumsum(x)]) for x in (w, w * v, w * v * v))
    within = np.full((n + 1, n + 1), np.inf)
    for i in range(n + 1):
        for j in range(i, n + 1):
            mass = m[j] - m[i]
            within[i, j] = 0 if mass <= 0 else s[j] - s[i] - (f[j] - f[i]) ** 2 / mass
    best = within[0]
    for _ in range(1, count):
        best = (best[:, None] + within).min(axis=0)
    return best[n]


@pytest.mark.parametrize("tail", [2.5, 30])
def test_exact_equals_the_plain_dynamic_programme_on_long_rows(tail):
    rng = np.random.default_rng(0)
    values = (0.02 * rng.standard_t(tail, size=(3, 200))).astype(np.float32)
    weights = (rng.chisquare(1, size=(3, 200)) * 10.0 ** rng.uniform(-6, 0, size=(3, 200))).astype(np.float32)
    table = kmeans.centroids(values, weights, 8, "exact")
    for v, w, t in zip(values, weights, table, strict=True):
        assert cost(v, w, t) == pytest.approx(plain_dynamic_programme(v, w, 8), rel=1e-3)


def test_exact_is_no_worse_than_the_best_of_many_random_starts():
    sklearn = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(4)
    values, weights = rng.normal(size=(1, 300)).astype(np.float32), rng.chisquare(1, size=(1, 300)).astype(np.float32)
    table = kmeans.centroids(values, weights, 16, "exact")
    for v, w, t in zip(values, weights, table, strict=True):
        theirs = sklearn.KMeans(16, n_init=10, random_state=0, algorithm="lloyd").fit(v[:, None], sample_weight=w)
        assert cost(v, w, t) <= theirs.inertia_ * (1 + 1e-5)


def test_lloyd_ends_in_a_fixed_point_near_the_optimum():
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=(4, 400)).astype(np.float32), np.ones((4, 400), np.float32)
    exact, lloyd = (kmeans.centroids(values, weights, 8, s, 500) for s in ("exact", "lloyd"))
    for v, w, e, t in zip(values, weights, exact, lloyd, strict=True):
        assert cost(v, w, e) <= cost(v, w, t) * (1 + 1e-6) <= 1.3 * cost(v, w, e)
        nearest = np.abs(v[:, None] - t).argmin(1)
        np.testing.assert_allclose(t, [v[nearest == k].mean() for k in range(8)], rtol=1e-4)


def test_few_distinct_values_and_weightless_rows():
    values = np.array([[1, 1, 2, 2], [0, 0, 0, 0], [1, 2, 3, 9]], np.float32)
    weights = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]], np.float32)
    for solver in ("exact", "lloyd"):
        table = kmeans.centroids(values, weights, 4, solver)
        assert (np.diff(table, axis=1) >= 0).all()
        np.testing.assert_array_equal(kmeans.assign(values, table), values)


def test_assign_takes_the_nearest():
    table = np.array([[-1.0, 0.0, 4.0]], np.float32)
    got = kmeans.assign(np.array([[-9, -0.6, -0.5, 0.1, 2.0, 2.1]], np.float32), table)
    assert got.tolist() == [[-1, -1, -1, 0, 0, 4]]
