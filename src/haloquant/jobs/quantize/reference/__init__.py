"""Slow twins of the passes, on a model that is in memory as a whole: for tests and benchmarks."""
