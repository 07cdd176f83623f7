"""Slow reference implementations of the static timing, for tests."""
