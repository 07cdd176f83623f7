"""Slow reference implementations for tests: `exhaustive_order`. Product code must not import them."""
