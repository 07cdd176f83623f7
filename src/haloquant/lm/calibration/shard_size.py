"""Sizes that calibration is cut by, where they can be read without torch."""

SHARD_WINDOWS = 4
"""Windows of a shard: a task of its own. Fixed, as where sums are cut decides how they round."""
