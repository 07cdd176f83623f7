"""Closed forms that only tests use. Product code must not import them.

`dataflow_cycles` counts the cycles of whole products by dataflow.
"""
