"""Closed forms that only tests use. Product code must not import them."""
