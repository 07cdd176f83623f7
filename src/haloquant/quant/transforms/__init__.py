"""Equivalent per-channel scalings before rounding: y = W x = (W diag(s)) (x / s), so rounding sees an easier matrix."""
