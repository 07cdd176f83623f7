"""Slow reference implementations for tests. Product code must not import them."""
